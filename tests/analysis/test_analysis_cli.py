"""Errors, and the commands end to end."""

import re
import subprocess
import sys
import types
from pathlib import Path

import pandas as pd
import pytest

from analysis.__main__ import FORMATS, _parser, main
from analysis.output import SUFFIXES
from analysis.verdict import DELTA
from ovpnet.terminal.commands import as_typed

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture
def stored(monkeypatch, tmp_path):
    """Puts frames in the place of a store; returns its directory."""

    def put(runs, skipped=()):
        class FakeStore:
            def __init__(self, path):
                self.skipped = []

            def runs(self, refuse):
                self.skipped.extend(skipped)
                return runs

            def curves(self, run_ids, columns):
                return pd.DataFrame(columns=["run_id", "step"])

        module = types.ModuleType("ovpnet.record.store")
        module.Store = FakeStore
        monkeypatch.setitem(sys.modules, "ovpnet.record.store", module)
        return str(tmp_path)

    return put


@pytest.fixture
def two_problems(make_runs):
    few = {"samples": [400, 600, 900, 1300, 2000, 3000, 4500, 7000, 10000], "seeds": range(3)}
    steep = make_runs(0.5, overrides=["concept=figure1", "learner=three_layer"], **few)
    steep["concept.name"] = "<b>"
    flat = make_runs(0.0, **few)
    flat.loc[flat["lr"].eq(1.0) & flat["width"].eq(64), ["status", "test_risk", "validation_risk"]] = (
        "diverged", float("nan"), float("nan"))
    return pd.concat([flat, steep], ignore_index=True)


# --- commands ---


def test_verdict(stored, two_problems, capsys):
    assert main(["verdict", "--store", stored(two_problems, ["skipped a.parquet: not whole"])]) == 0
    out, err = capsys.readouterr()
    assert "scales with m" in out
    assert "why: " in out
    assert "warning: skipped a.parquet: not whole" in err
    table = out.split("\n1. ")[0]
    assert max(len(line) for line in table.splitlines()) <= 80
    assert "\x1b" not in out


def test_verdict_prints_a_command_that_can_be_copied(stored, two_problems, capsys):
    assert main(["verdict", "width=64", "concept=two_layer", "--store", stored(two_problems)]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("   next: "))
    assert line.startswith(f"   next: {as_typed('train -m')} width=64,256,1024 samples=400,")


def test_verdict_at_another_epsilon(stored, two_problems, capsys):
    assert main(["verdict", "--epsilon", "0.2", "--store", stored(two_problems)]) == 0
    assert "epsilon=0.2" in capsys.readouterr().out


def test_table_at_a_glance_and_seed_by_seed(stored, two_problems, capsys, tmp_path):
    path = tmp_path / "new" / "best.csv"
    assert main(["table", "--store", stored(two_problems)]) == 0
    assert "test risk" in capsys.readouterr().out
    assert main(["table", "--out", str(path), "--store", stored(two_problems)]) == 0
    assert len(pd.read_csv(path)) == 2 * 4 * 9
    assert main(["table", "--seeds", "--out", str(path), "--store", stored(two_problems)]) == 0
    table = pd.read_csv(path)
    assert len(table) == 2 * 4 * 9 * 3
    assert {"problem", "width", "samples", "seed", "lr", "test_risk", "threshold", "reached"} <= set(table.columns)


def test_a_verdict_in_every_format_says_the_same(stored, two_problems, capsys, tmp_path):
    store, verdicts = stored(two_problems), {}
    for suffix, read in ((".csv", pd.read_csv), (".parquet", pd.read_parquet)):
        path = tmp_path / f"v{suffix}"
        assert main(["verdict", "--out", str(path), "--store", store]) == 0
        verdicts[suffix] = read(path)["verdict"].tolist()
    assert verdicts[".csv"] == verdicts[".parquet"]
    for name in ("text", "latex", "markdown"):
        capsys.readouterr()
        assert main(["verdict", "--format", name, "--store", store]) == 0
        out = capsys.readouterr().out
        assert all(verdict in out for verdict in verdicts[".csv"]), name


@pytest.mark.parametrize(("arguments", "message"), [
    (["--format", "parquet"], "--format=parquet: is binary: give --out FILE"),
    (["--out", "x.xls"], r"--out=x.xls: its suffix is no format's; .txt, .csv, .parquet")])
def test_a_format_that_cannot_be_written_is_refused_before_anything_is_read(arguments, message, capsys):
    assert main(["table", *arguments, "--store", "nowhere"]) == 1
    assert message in capsys.readouterr().err


def test_figures(stored, two_problems, tmp_path, capsys):
    assert main(["figures", "concept=two_layer", "--out", str(tmp_path / "r"), "--store", stored(two_problems)]) == 0
    paths = list((tmp_path / "r" / "figures").iterdir())
    assert sorted(path.suffix for path in paths) == [".pdf", ".pdf", ".png", ".png", ".svg", ".svg"]
    for path in paths:
        if path.suffix == ".pdf":
            assert b"/FontFile2" in path.read_bytes()  # TrueType, embedded
            assert b"/CreationDate" not in path.read_bytes()


def test_report_is_one_file_that_holds_everything(stored, two_problems, tmp_path, capsys):
    message = "skipped b.parquet: not whole"
    assert main(["report", "--out", str(tmp_path / "r"), "--store", stored(two_problems, [message])]) == 0
    assert [path.name for path in (tmp_path / "r").iterdir()] == ["index.html"]
    page = (tmp_path / "r" / "index.html").read_text()
    assert capsys.readouterr().out.strip() == str(tmp_path / "r" / "index.html")
    words = re.sub(r"<script.*?</script>|<style.*?</style>", "", page, flags=re.DOTALL)
    order = [words.index(f"<h2>{each}") for each in ("Verdicts", "Sample complexity", "Test risk", "Tuning", "Failures",
                                                    "Cost", "Provenance")]
    assert order == sorted(order)
    for wanted in ("scales with m", "<td>diverged</td>", message, "training time", "ovpnet version", "0.1</dd>"):
        assert wanted in words
    assert "http" not in words
    assert "src=" not in words
    assert "<b>" not in words  # a label of the store is text, not markup
    assert "&lt;b&gt;" in words


def test_compare(stored, two_problems, capsys):
    arguments = ["concept=two_layer", "concept=<b>", "--store", stored(two_problems)]
    assert main(["compare", "learner=two_layer", "learner=three_layer", "--store", arguments[-1]]) == 1
    assert "no problem of A is one of B" in capsys.readouterr().err  # they differ in the concept, too
    assert main(["compare", *arguments]) == 1
    assert main(["compare", "concept=two_layer learner=two_layer", "concept=two_layer", *arguments[2:]]) == 0
    out = capsys.readouterr().out
    assert "in both" in out
    assert "B - A = 0.00" in out
    assert main(["compare", "nowhere", *arguments[1:]]) == 1
    assert "neither the directory of a store nor filters" in capsys.readouterr().err


def test_report_of_a_problem_whose_runs_all_failed(stored, make_runs, tmp_path):
    few = {"samples": [100], "lrs": [0.5]}
    runs = pd.concat([make_runs(**few).assign(status="failed"), make_runs(**few, overrides=["concept.p=6"])],
                     ignore_index=True)
    assert main(["report", "--out", str(tmp_path / "r"), "--store", stored(runs)]) == 0
    page = (tmp_path / "r" / "index.html").read_text()
    assert "none of the 20 runs finished" in page
    assert as_typed("train -m") in page


@pytest.mark.parametrize("arguments", [["verdict"], ["table"], ["report"]])
def test_no_store_is_one_clear_line(arguments, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("OVPNET_STORE", str(tmp_path / "nowhere"))
    assert main(arguments) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "nowhere" in err
    assert as_typed("train") in err


def test_empty_store_is_one_clear_line(stored, capsys):
    assert main(["verdict", "--store", stored(pd.DataFrame())]) == 1
    assert "holds no runs" in capsys.readouterr().err


def test_unknown_filter_exits_with_1(stored, two_problems, capsys):
    assert main(["verdict", "with=64", "--store", stored(two_problems)]) == 1
    assert capsys.readouterr().err.startswith("error: with=64: unknown key")


def test_names_that_look_like_markup_are_shown_as_they_are(stored, make_runs, capsys):
    runs = make_runs(widths=(64, 256), samples=[400, 900, 1600], seeds=range(2), lrs=[0.5])
    runs["concept.name"] = "[/red]:x:"
    store = stored(runs)
    for command in ("verdict", "table"):
        assert main([command, "--store", store]) == 0
        assert "[/red]:x:" in capsys.readouterr().out


def test_seeds_that_all_contradict_themselves_leave_the_verdict_open(stored, make_runs, tmp_path, capsys):
    """Each passes at the first N and fails at the second: nothing is known of N_eps."""
    runs = make_runs(widths=(64, 256), samples=[400, 900], seeds=range(3), lrs=[0.5])
    runs["test_risk"] = runs["threshold"].where(runs["samples"].eq(400), 2 * runs["threshold"])
    store = stored(runs)
    assert main(["verdict", "--store", store]) == 0
    assert "[-inf, inf]   inconclusive" in capsys.readouterr().out
    for command in ("report", "figures"):
        assert main([command, "--store", store, "--out", str(tmp_path / "out")]) == 0


def test_a_settled_verdict_imports_nothing_slow_that_it_does_not_need():
    """What is open needs Hydra, to compose the command that settles it."""
    code = ("import sys; from analysis.__main__ import main; assert main(['verdict', '--store', sys.argv[1]]) == 0; "
            "print({'torch', 'hydra', 'omegaconf', 'matplotlib', 'plotly', 'launch', 'scipy.stats', 'wandb'} "
            "& set(sys.modules))")
    command = [sys.executable, "-c", code, str(GOLDEN / "flat")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.endswith("set()\n")


def test_help_waits_for_no_library_and_tells_the_defaults():
    code = ("import sys, analysis.__main__ as cli; cli._parser().parse_args(['verdict']); "
            "print({'pandas', 'numpy', 'scipy', 'hydra', 'rich'} & set(sys.modules))")
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
    assert f"(default: {DELTA:g})" in next(action.help for action in _parser()._subparsers._group_actions[0].choices[
        "verdict"]._actions if action.dest == "delta")
    assert tuple(SUFFIXES) == FORMATS
