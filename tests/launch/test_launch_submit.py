"""What is submitted, where, and what is refused before anything is; what a sweep leaves to others, and what not."""

import errno
import os
from dataclasses import asdict, replace

import numpy as np
import pytest

from launch import retry, run
from launch.__main__ import main
from launch.claims import Claims
from launch.launcher import JobState
from launch.launchers import slurm
from launch.launchers.slurm import Slurm
from launch.launchers.subprocess import Subprocess
from launch.plan import plan
from launch.sweep import sweeps, write_json
from ovpnet.engine.choice import shape_of
from ovpnet.record.checkpoint import Checkpoints
from ovpnet.record.store import Store
from ovpnet.run.results import config_row
from ovpnet.spec.errors import ConfigError, StoreError
from ovpnet.spec.identity import run_id
from tests.launch.test_launch_status import finished, supervised, training


@pytest.fixture
def configs(make, tmp_path):
    config = make(f"store={tmp_path / 'store'}")
    return [replace(config, seed=seed) for seed in range(8)]


# --- what is refused ---


@pytest.mark.parametrize("name", ["50%", "%j", "a\\b"])
def test_a_path_that_slurm_reads_as_another_is_refused(configs, tmp_path, name):
    """SLURM looks for %j, and for a backslash, in the paths of what jobs print; then it cannot start them."""
    mine = [replace(config, store=str(tmp_path / name / "store")) for config in configs]
    with pytest.raises(ConfigError, match=r"store=.*must not contain % or"):
        plan(mine, Slurm())
    assert len(plan(mine, Subprocess(workers=1)).packs) == 1


def test_a_job_is_not_asked_for_a_checkpoint_before_it_has_begun():
    with pytest.raises(ConfigError, match=r"hydra.launcher.signal_delay_s=90: must be less than .*timeout_min=1\)"):
        Slurm.checked({"timeout_min": 1})
    with pytest.raises(ConfigError, match=r"hydra.launcher.tiers.1.signal_delay_s=90: must be less than"):
        Slurm.checked({"tiers": [{"timeout_min": 2}, {"timeout_min": 1}]})
    assert Slurm.checked({"timeout_min": 1, "signal_delay_s": 30}).timeout_min == 1


def test_a_sweep_that_there_is_no_room_to_record_is_told_and_not_begun(configs, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(run, "submit", None)
    for step in ("record", "snapshot"):
        with monkeypatch.context() as patched:
            patched.setattr(run, "snapshot", lambda store: None)
            patched.setattr(run, step, full)
            with pytest.raises(StoreError, match=r"store=.*could not be put on record \(No space left on device\)"):
                run.train(configs, Subprocess(workers=1))


@pytest.mark.parametrize("lines", ["0", "-3", "x"])
def test_a_number_of_lines_is_positive(recorded, configs, capsys, lines):
    sweep = recorded(configs[:1])
    with pytest.raises(SystemExit, match="2"):
        main(["logs", "--store", str(sweep.store), "-n", lines])
    assert "argument -n/--lines" in capsys.readouterr().err


# --- which jobs get what ---


def test_a_run_goes_to_the_first_tier_that_it_fits(make, tmp_path):
    small, large = (make("learner=three_layer", f"width={width}", f"store={tmp_path}") for width in (16, 8000))
    configs = [replace(config, seed=seed) for seed in range(3) for config in (small, large)]
    assert shape_of([small]).memory < 2**28 < shape_of([large]).memory < 2**32
    tiers = [{"mem_gb": 0.8, "partition": "small"}, {"mem_gb": 64, "partition": "large", "timeout_min": 600}]
    for order in (tiers, [*tiers[:1], {"mem_gb": 0.8, "partition": "last"}]):
        found = plan(configs, Slurm.checked({"tiers": order, "job_minutes": 0})).tiers
        assert [tier.launcher.partition for tier in found] == [tier["partition"] for tier in order]
        widths = [{config.width for pack in tier.packs for config in pack.configs} for tier in found]
        assert widths == [{16}, {8000}]
        assert all(tier.launcher.tiers == [] for tier in found)
    [only] = plan(configs[::2], Slurm.checked({"tiers": tiers})).tiers
    assert only.launcher.partition == "small"


def test_a_run_that_takes_longer_than_a_job_of_a_tier_goes_to_the_next(make, tmp_path):
    quick = make(f"store={tmp_path}")
    slow = replace(quick, steps=10**10)
    tiers = [{"timeout_min": 5, "partition": "short"}, {"timeout_min": 1440, "partition": "long"}]
    found = plan([quick, slow], Slurm.checked({"tiers": tiers})).tiers
    assert [(tier.launcher.partition, [pack.configs for pack in tier.packs]) for tier in found] == [
        ("short", [[quick]]), ("long", [[slow]])]


# --- what is left to others ---


def test_a_run_that_failed_in_a_job_that_goes_on_is_not_left_to_it(configs, recorded):
    sweep = recorded(configs[:4], size=2)
    claims = Claims(sweep, sweep.group(0))
    assert claims.claim(0, 0)
    supervised(sweep)
    training(sweep, [run_id(config) for config in configs[2:4]])
    finished(sweep, configs[0])
    finished(sweep, configs[1], "failed", hours=0.1)
    mine = [replace(config, store=str(sweep.store)) for config in configs[:4]]
    what = plan(mine, Subprocess(workers=1))
    assert what.elsewhere == {sweep.id: 2}
    assert [[run_id(config) for config in pack.configs] for pack in what.packs] == [[run_id(configs[1])]]
    # One that failed before that job was submitted is tried again by it.
    finished(sweep, configs[2], "failed", hours=-0.1)
    assert plan(mine, Subprocess(workers=1)).elsewhere == {sweep.id: 2}


# --- what is on record ---


@pytest.mark.parametrize("groups", [0, 1])
def test_a_command_that_was_killed_before_its_record_was_whole_is_not_waited_for_with_success(
        configs, recorded, capsys, groups):
    """Of a sweep of two tiers, that is, or of any before its first."""
    sweep = recorded(configs[:2], distinct=5, finished=1, command="python -m ovpnet.train -m seed=range(5)")
    for config in configs[:2]:
        finished(sweep, config)
    supervised(sweep, ended=1.0, started=0.0, how="done")
    if not groups:
        (sweep.path / "group-0.json").unlink()
    assert main(["wait", "--store", str(sweep.store)]) == 1
    told = " ".join(capsys.readouterr().out.split())
    assert f"{2 if groups else 4} runs not on record, for its command was ended before; give it again: " in told
    assert "python -m ovpnet.train -m seed=range(5)" in told
    assert "retry" not in told
    write_json(sweep.path / "sweep.json", sweep.about() | {"distinct": 3 if groups else 1})
    assert main(["wait", "--store", str(sweep.store)]) == 0


# --- memory ---


def test_what_is_left_of_jobs_that_slurm_ended_for_their_memory_is_submitted_in_half_as_large_packs(
        configs, recorded, monkeypatch):
    sweep = recorded(configs, size=4, jobs=[[0], [1]], launcher="slurm", options=asdict(Slurm()))
    runs = [run_id(config) for config in configs]
    Checkpoints(sweep.store).save({"run_ids": runs[:4]}, {
        "step": np.array(7), "points": np.array([7]), "seconds": np.array(1.0), "W": np.arange(4.0)})
    Store(sweep.store).write_pack([config_row(configs[4]) | {"status": "done", "finished_at": "2026"}], [])
    monkeypatch.setattr(retry, "jobs", lambda sweep, groups: [JobState(0, task, "OUT_OF_MEMORY") for task in (0, 1)])
    monkeypatch.setattr(retry, "snapshot", lambda store: store)
    monkeypatch.setattr(retry, "submit", lambda sweep, group: None)
    monkeypatch.setattr(slurm, "queued", list)
    assert "7 runs submitted again" in retry.retry(sweep, [])
    packs = [pack.runs for pack in sweep.packs(1)]
    assert sorted(map(len, packs)) == [1, 2, 2, 2]
    assert runs[:2] in packs
    assert runs[2:4] in packs
    assert sorted(Checkpoints(sweep.store).packs()) == sorted([runs[:2], runs[2:4]])
    assert sweep.groups()[1].options["runs_per_pack"] == 2
    assert [each.id for each in sweeps(sweep.store)] == [sweep.id]
