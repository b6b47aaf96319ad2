"""A run that fails costs no other run anything, and the store tells why it failed."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest
import torch

import ovpnet.run.pack
from analysis.__main__ import main as analyse
from ovpnet.engine.registry import lookup
from ovpnet.record.checkpoint import Checkpoints
from ovpnet.record.store import Store
from ovpnet.run.pack import failed_row, run_pack
from ovpnet.spec.errors import DeviceLostError, OvpnetError, StoreError
from ovpnet.spec.identity import run_id
from ovpnet.train import main, summary
from ovpnet.training.ensemble import Ensemble

# Of the results, what may differ between two trainings of one run.
ABOUT = ["train_seconds", "pack_id", "pack_members", "finished_at", "store", "checkpoint_minutes"]


@pytest.fixture
def pack(make, tmp_path):
    """pack("store", range(5)) -> a pack of runs with these seeds, for that store under tmp_path."""
    def pack(name, seeds, *more):
        Store(tmp_path / name).prepare()
        config = make(f"store={tmp_path / name}", "engine=reference", *more)
        return [replace(config, seed=seed) for seed in seeds]

    return pack


@pytest.fixture
def poison(monkeypatch):
    """poison({3}, ValueError("no")) -> ensembles with one of these seeds raise, after their first steps or at once."""
    def poison(seeds, error, after=0):
        train = Ensemble.train

        def poisoned(self, on_steps, on_chunk):
            def between():
                if self.trace.step >= after and any(config.seed in seeds for config in self.members.configs):
                    raise error
                on_chunk()

            if not after:
                between()
            return train(self, on_steps, between)

        monkeypatch.setattr(Ensemble, "train", poisoned)

    return poison


def rows_of(path):
    return Store(path).runs().sort_values("run_id").drop(columns=ABOUT).reset_index(drop=True)


@pytest.mark.parametrize(("seeds", "after"), [({3}, 0), ({0, 6}, 10)], ids=str)
def test_the_other_runs_of_a_pack_are_as_in_a_pack_without_the_poison(pack, tmp_path, poison, seeds, after):
    run_pack(pack("without", [seed for seed in range(7) if seed not in seeds]))
    poison(seeds, ZeroDivisionError("a poisoned seed\nand a second line"), after)
    heard = []
    rows = run_pack(pack("with", range(7), "checkpoint_minutes=0"), heard.append)
    assert [row["seed"] for row in rows] == list(range(7))
    runs = Store(tmp_path / "with").runs()
    failed = runs[runs["status"].eq("failed")]
    assert set(failed["seed"]) == seeds
    assert set(failed["failure"]) == {"exception"}
    assert set(failed["error"]) == {"ZeroDivisionError: a poisoned seed"}
    assert failed["traceback"].str.startswith("Traceback (most recent call last)").all()
    assert failed["traceback"].str.contains("and a second line").all()
    assert failed["pack_members"].eq(1).all()
    assert failed["test_risk"].isna().all()
    whole = rows_of(tmp_path / "without")
    others = rows_of(tmp_path / "with")
    others = others[others["status"].ne("failed")].reset_index(drop=True)[whole.columns].astype({"reached": bool})
    pd.testing.assert_frame_equal(others, whole, rtol=2e-4)
    assert set(Store(tmp_path / "with").curves()["run_id"]) == set(whole["run_id"])
    assert sum(heard) == 30 * (7 - len(seeds)) + after * len(seeds)
    assert not Checkpoints(tmp_path / "with").packs()


def test_a_failed_alone_costs_log2_more_trainings(pack, poison, monkeypatch):
    poison({5}, ValueError("no"))
    sizes = []
    build = Ensemble.__init__

    def counted(self, shape, *arguments):
        sizes.append(shape.members)
        build(self, shape, *arguments)

    monkeypatch.setattr(Ensemble, "__init__", counted)
    run_pack(pack("many", range(8)))
    assert sizes == [8, 4, 4, 2, 1, 1, 2]


def test_a_store_that_cannot_be_written_is_not_the_runs_fault(pack, tmp_path, monkeypatch):
    def full(self, *given):
        raise StoreError("no space")

    monkeypatch.setattr(Store, "write_pack", full)
    with pytest.raises(StoreError, match="no space"):
        run_pack(pack("full", range(3)))
    monkeypatch.undo()
    assert Store(tmp_path / "full").runs().empty

    monkeypatch.setattr(Store, "write_opt", full)
    with pytest.raises(StoreError, match="no space"):
        run_pack(pack("full", range(3), "opt.samples=8192"))
    assert Store(tmp_path / "full").runs().empty


def test_an_opt_that_cannot_be_found_fails_the_runs_it_is_of(pack, tmp_path, monkeypatch):
    found = ovpnet.run.pack.empirical_opt

    def opt(config, store):
        if config.concept.seed == 7:
            raise FloatingPointError("no fit")
        return found(config, store)

    monkeypatch.setattr(ovpnet.run.pack, "empirical_opt", opt)
    run_pack([*pack("opt", range(2)), *pack("opt", range(2), "concept.seed=7")])
    runs = Store(tmp_path / "opt").runs()
    assert runs.groupby("concept.seed")["status"].agg(set).to_dict() == {0: {"done"}, 7: {"failed"}}
    assert runs["error"].dropna().unique().tolist() == ["FloatingPointError: no fit"]


@pytest.mark.parametrize("order", [1, -1], ids=["failed first", "failed last"])
def test_a_run_that_is_done_is_done_whatever_failed_before_or_after(make, tmp_path, order):
    config, store = make(f"store={tmp_path}"), Store(tmp_path)
    store.prepare()
    failed = failed_row(config, "killed", "the process that trained it died 3 times")
    if order == 1:
        store.write_pack([failed], [])
        assert store.finished() == set()
        assert store.runs()["status"].tolist() == ["failed"]
    run_pack([config])
    if order == -1:
        late = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
        store.write_pack([failed | {"finished_at": late}], [])
    assert store.finished() == {run_id(config)}
    assert store.runs()["status"].tolist() == ["done"]
    assert summary(store, run_id(config)).startswith(f"run {run_id(config)}: test risk")


def test_of_several_failures_the_newest_is_told(make, tmp_path):
    config, store = make(), Store(tmp_path)
    for error in ("first", "second"):
        store.write_pack([failed_row(config, "killed", error)], [])
    assert store.runs()["error"].tolist() == ["second"]
    with pytest.raises(OvpnetError, match=rf"^run {run_id(config)} failed \(killed\): second"):
        summary(store, run_id(config))


# --- a GPU that is lost ---


def test_an_error_that_breaks_a_gpu_is_no_runs_failure(pack, tmp_path, poison, monkeypatch):
    """As after an illegal access: whatever is asked of the GPU from then on raises."""
    def lost(where):
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    poison({1}, RuntimeError("CUDA error: an illegal memory access was encountered"))
    configs = pack("lost", range(3))
    real = ovpnet.run.pack.device
    cuda = torch.device("cuda")
    monkeypatch.setattr(ovpnet.run.pack, "device", lambda name: cuda)
    monkeypatch.setattr(ovpnet.run.pack, "engine_on", lambda shape, where: lookup("reference"))
    monkeypatch.setattr(ovpnet.run.pack, "Ensemble", lambda shape, goals, stepper, where: Ensemble(
        shape, goals, stepper, real("cpu")))
    monkeypatch.setattr(torch.cuda, "synchronize", lost)
    with pytest.raises(DeviceLostError, match=r"cuda cannot be used any more in this process .CUDA error: an illegal"):
        run_pack(configs)
    assert Store(tmp_path / "lost").runs().empty


# --- what a user sees of it ---


def test_a_single_run_that_fails_shows_its_traceback_and_fails(tmp_path, poison, monkeypatch, capsys):
    poison({4}, ZeroDivisionError("a poisoned seed"))
    monkeypatch.setattr("sys.gettrace", lambda: None)  # Hydra takes coverage for a debugger, and shows it all
    monkeypatch.setattr("sys.argv", ["ovpnet.train", "seed=4", "width=8", "steps=10", "opt.samples=4096",
                                     f"store={tmp_path}"])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 1
    told = capsys.readouterr().err
    assert told.count("Traceback (most recent call last)") == 1
    assert "failed (exception): ZeroDivisionError: a poisoned seed" in told
    assert "hydra/" not in told


def test_a_store_with_failed_runs_is_analysed_and_they_are_counted(pack, tmp_path, poison, capsys):
    poison({2}, ZeroDivisionError("a poisoned seed"))
    for width in (8, 16):
        run_pack(pack("some", range(3), f"width={width}", "epsilon=1"))
    for command in ("verdict", "table"):
        assert analyse([command, "--store", str(tmp_path / "some")]) == 0, capsys.readouterr().err
    assert analyse(["report", "--store", str(tmp_path / "some"), "--out", str(tmp_path / "report")]) == 0
    page = (tmp_path / "report" / "index.html").read_text()
    assert "failed" in re.sub(r"<script.*?</script>|<style.*?</style>", "", page, flags=re.DOTALL)
