"""`ovpnet analysis dashboard` with the real clients, to a server on loopback: what is there, and that it is there
once."""

import json
from collections.abc import Callable, Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import wandb_workspaces.reports.v2 as wr
import wandb_workspaces.workspaces as ws
from PIL import Image

from analysis import dashboard
from analysis.__main__ import main
from analysis.dashboard import Asked, plan, publish
from analysis.exhibits.evidence import Evidence
from analysis.load import load
from analysis.render import wandb as views
from ovpnet.record.store import Store
from ovpnet.record.tracking import Target, tracked, upload
from ovpnet.record.uploads import remember
from ovpnet.spec.errors import TrackerError
from tests import wandb_server
from tests.analysis.conftest import synthetic_runs
from tests.wandb_server import Received, View, WandbServer

WRITES = {"UpsertBucket", "CreateArtifact", "upload", "file_stream", "UpsertView2", "upsertView"}


@pytest.fixture(autouse=True)
def account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with wandb_server.known(tmp_path / "home", monkeypatch):
        yield


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[WandbServer]:
    """A server that has a project already, as W&B has when a run was uploaded."""
    with WandbServer() as server:
        server.runs["some"] = Received("me", "ovpnet")
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        yield server


@pytest.fixture(autouse=True)
def next_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """What to run next takes Hydra seconds to tell, and has tests of its own."""
    monkeypatch.setattr("analysis.rerun.command", lambda runs, **axes: "ovpnet train -m seed=0,1,2")


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures of a pixel, as drawing takes a second."""
    def save(evidence: Evidence, directory: Path, medium: str) -> dict[str, list[Path]]:
        paths = {problem: [directory / f"{kind}-{number}.svg" for kind in ("complexity", "risk")]
                 for number, problem in enumerate(evidence.problems)}
        for path in (each for several in paths.values() for each in several):
            Image.new("L", (1, 1), len(evidence.best) % 256).save(path.with_suffix(".png"))
        return paths

    monkeypatch.setattr("analysis.render.figures.save", save)


@pytest.fixture(scope="module")
def runs() -> pd.DataFrame:
    return synthetic_runs(widths=(64, 256, 1024), samples=[400, 700, 1000, 1600, 2500], seeds=range(2), lrs=(0.5,))


@pytest.fixture
def put(runs: pd.DataFrame, tmp_path: Path) -> Callable[..., Path]:
    """Adds runs of two widths to a store, with changes to all rows; returns its directory."""
    def put(changes: dict[str, Any] | None = None, norms: bool = False, widths: Sequence[int] = (64, 256)) -> Path:
        path = tmp_path / "store"
        path.mkdir(exist_ok=True)
        rows = runs[runs["width"].isin(widths)].assign(**{"study": "s"} | (changes or {}))
        curves = [{"run_id": name, "step": step, "samples_seen": 100 * step, "test_risk": 1 / step}
                  for name in rows["run_id"] for step in (1, 2)]
        if norms:
            rows, curves = rows.assign(norm_ratio=2.0, norm_W=1.0), [
                each | {"norm_ratio": 2.0, "norm_W": 1.0} for each in curves]
        Store(path).write_pack(rows.astype(object).where(rows.notna(), None).to_dict("records"), curves)
        return path

    return put


def told(path: Path, *filters: str, **options: Any) -> Asked:
    return Asked(path, Evidence(load(path, filters, options.get("epsilons", ()))), filters, **options)


def kinds(server: WandbServer) -> dict[str, View]:
    """The views by their type, of each of which there is one."""
    assert sorted(view.type for view in server.views) == ["project-view", "runs"]
    return {view.type: view for view in server.views}


def texts(node: Any) -> str:
    """All text of a view's JSON."""
    if isinstance(node, dict):
        return "\n".join(texts(each) for each in node.values())
    if isinstance(node, list):
        return "\n".join(texts(each) for each in node)
    return str(node)


def test_what_a_store_says_is_in_wandb_once(put, drawn, server: WandbServer):
    """Made, made again, and made again of more runs: each thing is there once, and as the store is."""
    path = put(norms=True)
    asked = told(path)
    analysis = asked.evidence.analysis
    made = publish(asked)

    assert made.changed
    views, (version,) = kinds(server), server.versions
    assert {view.title for view in server.views} == {"Sample complexity"}
    verdict = analysis.verdicts.iloc[0]
    said = texts(views["runs"].spec["blocks"])
    assert f"1. {verdict.problem}: {verdict.verdict}" in said
    assert f"Why: {verdict.why}" in said
    assert f"dashboard --store {path}" in said
    assert verdict.next in said
    assert (version.artifact, version.type, version.committed) == ("results-Sample-complexity", "results", True)
    for name, table in dashboard.tables(analysis).items():
        pd.testing.assert_frame_equal(pd.read_parquet(BytesIO(version.files[f"{name}.parquet"])), table,
                                      check_dtype=False)
        shown = json.loads(version.files[f"{name}.table.json"])
        assert (shown["columns"], len(shown["data"])) == (list(table.columns), len(table))
    assert sum(name.endswith(".png") for name in server.runs[version.run].files) == 2

    before = len(server.requests)
    again = publish(asked)
    assert (again.changed, again.workspace, again.artifact) == (False, made.workspace, made.artifact)
    assert not WRITES & {request.what for request in server.requests[before:]}

    put(widths=(1024,))
    assert publish(told(path)).changed
    assert [view.saved for view in kinds(server).values()] == [2, 2]
    assert [each.committed for each in server.versions] == [True, True]
    assert len(server.runs) == 2, "the figures of both are in one W&B run"
    assert "1024" in texts(kinds(server)["runs"].spec["blocks"])


def test_the_clients_read_back_what_they_wrote(put, server: WandbServer):
    asked = told(put(), "width=64,256", name="ours")
    made = publish(asked)
    view = ws.Workspace.from_url(made.workspace)
    assert [section.name for section in view.sections] == ["Test risk by width", "Samples against risk"]
    assert [group.name for group in view.runset_settings.groupby] == ["concept.name", "learner.name", "width"]
    page = wr.Report.from_url(made.report)
    assert (page.title, page.entity, page.project) == ("ours", "me", "ovpnet")
    grids = [block for block in page.blocks if isinstance(block, wr.PanelGrid)]
    figures, runs = (grid.runsets[0] for grid in grids)
    assert figures.filters == f"Metric(\"ID\") in ['{server.versions[0].run}']"
    assert runs.filters == "Config(\"study.value\") in ['s'] and Config(\"width.value\") in [64, 256]"
    logged = server.runs[server.versions[0].run].summary
    assert all(logged[key]["_type"] == "image-file" for panel in grids[0].panels for key in panel.media_keys)


def test_another_name_or_other_filters_make_a_dashboard_of_their_own(put):
    path = put()
    plans = [plan(told(path, *filters, **options)) for filters, options in (
        ((), {}), (("width=64",), {}), ((), {"name": "ours"}))]
    assert [each.name for each in plans] == ["Sample complexity", "Sample complexity, width 64", "ours"]
    assert len({each.run for each in plans}) == len({each.artifact for each in plans}) == 3


# --- the keys of panels are those that runs log --------------------------------------------------------


def panels(spec: Any) -> Iterator[Any]:
    if isinstance(spec, dict):
        if "viewType" in spec:
            yield spec
        spec = list(spec.values())
    if isinstance(spec, list):
        for each in spec:
            yield from panels(each)


@pytest.mark.parametrize("per", ["run", "pack"])
def test_panels_and_columns_name_what_is_logged(put, per: str):
    """Of a panel whose key nobody logs, W&B shows that there is nothing."""
    path = put({"tracker.per": per}, norms=True)
    story = plan(told(path))
    rows = Store(path).newest_runs().to_pylist()
    rows = [row for row in rows if row["width"] == 64] if per == "pack" else rows[:1]
    curves = [point for point in Store(path).newest_curves().to_pylist() if point["run_id"] in {
        row["run_id"] for row in rows}]
    run = tracked(per, rows, curves)
    history = {name for point in run.points for name in point}
    config = {f"{name.partition('.')[0]}.value{''.join(name.partition('.')[1:])}" for name in run.config}

    model = views.workspace(story)._to_model().spec.model_dump(by_alias=True, exclude_none=True)
    found = list(panels(model))
    curves_shown = [panel["config"] for panel in found if panel["viewType"] == "Run History Line Plot"]
    assert {key for one in curves_shown for key in (*one["metrics"], one["xAxis"])} == history & {
        key for name in ("step", "samples_seen", "test_risk", "norm_ratio", "norm_W") for key in (name, f"{name}/mean")}
    assert not any("groupBy" in one for one in curves_shown), "the runs are grouped"
    points = [panel["config"] for panel in found if panel["viewType"] == "Scatter Plot"]
    assert len(points) == (3 if per == "run" else 0)
    summary = {f"summary:{name}" for name in run.summary} | {f"config:{name}" for name in config}
    assert {one[axis] for one in points for axis in ("xAxis", "yAxis")} <= summary
    runset = model["section"]["runSets"][0]
    assert {group["name"] for group in runset["grouping"]} <= config
    if per == "run":
        assert set(runset["runFeed"]["columnOrder"]) - {"run:displayName"} <= summary


def test_a_study_that_is_a_wandb_run_shows_its_table(put):
    path = put({"tracker.per": "sweep"})
    found = list(panels(views.workspace(plan(told(path)))._to_model().spec.model_dump(by_alias=True)))
    assert [panel["viewType"] for panel in found] == ["Weave"]


def test_what_was_uploaded_counts_and_not_what_runs_ask_for(put):
    path = put({"tracker.per": "run", "tracker.project": "q", "tracker.entity": "f"})
    asked = told(path)
    assert plan(asked).per == "run"
    rows = Store(path).newest_runs().to_pylist()
    remember(path, [upload(rows, Target("f", "q", dashboard.base_url(), "pack"))])
    story = plan(asked)
    assert (story.entity, story.project, story.per) == ("f", "q", "pack")


def test_filters_become_those_of_the_run_set(put):
    """Values as W&B has them; quotes in a text stay text; a run set of a W&B run a pack knows the study alone."""
    path = put({"study": "it's \"s\"", "concept.name": "a'b"})
    model = views.workspace(plan(told(path, "width=64", "concept=\"a'b\"", "status=done")))._to_model()
    leaves = [(leaf["key"]["section"], leaf["key"]["name"], leaf["value"])
              for leaf in model.spec.section.run_sets[0].filters["filters"]]
    assert leaves == [("config", "study.value", ["it's \"s\""]), ("config", "width.value", [64]),
                      ("config", "concept.value.name", ["a'b"]), ("summary", "status", ["done"])]
    run = tracked("run", [row for row in Store(path).newest_runs().to_pylist() if row["width"] == 64][:1], [])
    has = {**run.config, **run.summary}
    assert all(has[name.replace(".value", "")] in values for _, name, values in leaves), "they let such a run through"


def test_a_problem_of_which_no_run_finished_is_told_of(put):
    put()
    path = put({"status": "failed", "test_risk": None, "validation_risk": None, "concept.seed": 7,
                "run_id": lambda rows: rows["run_id"] + "-failed"})
    story = plan(told(path))
    assert "verdicts: 2 rows" in dashboard.described(story)
    assert "sample_complexity: 4 rows" in dashboard.described(story)
    assert any("none of the 20 runs finished" in getattr(block, "text", "")
               for block in views.report(story).blocks)


def test_text_of_the_store_is_no_markup(put):
    path = put({"concept.name": "a|b *c* [d](http://e) <f>"})
    blocks = views.report(plan(told(path))).blocks
    tables = [block.text for block in blocks if isinstance(block, wr.MarkdownBlock)]
    assert r"a\|b \*c\* \[d\](http://e) \<f\>" in tables[0]
    heads = [line.count(" | ") for line in tables[0].splitlines() if "---" not in line]
    assert len(set(heads)) == 1


# --- asking for what cannot be ------------------------------------------------------------------------


def test_nothing_is_sent_to_a_project_that_is_not_there(put, server: WandbServer):
    with pytest.raises(TrackerError, match=r"--project=q --entity=f: W&B at .* has no such project.*launch sync"):
        publish(told(put(), project="q", entity="f"))
    assert not WRITES & set(server.counts())


def test_nothing_is_sent_without_an_account(put, server: WandbServer, monkeypatch: pytest.MonkeyPatch, capsys):
    path = put()
    server.status = lambda request: 401
    assert main(["dashboard", "--store", str(path)]) == 1
    assert f"WANDB_BASE_URL={server.url}: " in capsys.readouterr().err
    monkeypatch.delenv("WANDB_API_KEY")
    assert main(["dashboard", "--store", str(path)]) == 1
    assert "WANDB_API_KEY is not set, and nobody has logged in here; set it, or run `wandb login`" in (
        capsys.readouterr().err)
    assert not WRITES & set(server.counts())


def test_a_dashboard_that_was_refused_is_written_whole_later(put, drawn, server: WandbServer):
    """The report is written last, so that one that is there says that all is."""
    path = put()
    server.status = lambda request: 400 if request.what == "UpsertView2" else 200
    with pytest.raises(TrackerError, match=r"did not take the dashboard \(.*told to fail"):
        publish(told(path))
    assert not server.views
    server.status = lambda request: 200
    assert publish(told(path)).changed
    kinds(server)
    assert len(server.versions) == 1, "the tables were there already"


def test_a_dry_run_asks_nothing(put, server: WandbServer, monkeypatch: pytest.MonkeyPatch, capsys):
    """Not for an account either; and a store of runs that know of no tracker goes where the defaults say."""
    monkeypatch.delenv("WANDB_API_KEY")
    path = put({f"tracker.{key}": None for key in ("name", "project", "entity", "mode", "per")})
    assert main(["dashboard", "width=64", "--store", str(path), "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert f"to your default entity/ovpnet at {server.url}" in said
    assert "workspace 'Sample complexity, width 64'" in said
    assert "sample_complexity: 2 rows" in said
    assert not server.requests


def test_runs_that_go_to_several_projects_need_a_choice(put):
    put({"tracker.project": "p"})
    path = put({"tracker.project": "q"}, widths=(1024,))
    with pytest.raises(TrackerError, match=r"tracker.project: the runs have p, q; choose one with --project"):
        plan(told(path))
    assert plan(told(path, project="r")).project == "r"


@pytest.mark.parametrize("name", ["a = b", "x" * 129, " ", "\N{GRINNING FACE}"])
def test_a_name_that_wandb_refuses_is_told(put, name: str):
    with pytest.raises(TrackerError, match=r"--name=.*1 to 128 characters, none of them a symbol"):
        plan(told(put(), name=name))
