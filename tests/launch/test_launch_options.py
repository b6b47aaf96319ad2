"""How packs are shared out to jobs, and what options of a launcher are refused; nothing a user names is ever run."""

import math
import os
import shlex
import subprocess
from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st
from submitit.slurm import slurm as submitit_slurm

from launch.launchers.local import Local
from launch.launchers.slurm import Slurm, job_name
from launch.launchers.subprocess import Subprocess
from launch.packs import Pack
from launch.plan import shared_out
from launch.retry import retry
from launch.sweep import Sweep
from ovpnet.spec.errors import ConfigError, OvpnetError
from tests.launch.conftest import EVIL

# --- packs of each job ---

SECONDS = st.lists(st.floats(0.001, 1000), min_size=1, max_size=30)


@given(SECONDS, st.integers(1, 12), st.one_of(st.just(0.0), st.floats(0.1, 500)))
def test_every_pack_is_in_one_job_and_no_job_is_longer_than_it_must_be(seconds, most, least):
    packs = [Pack([], each) for each in seconds]
    jobs = shared_out(packs, most, least)
    assert sorted(index for job in jobs for index in job) == list(range(len(packs)))
    assert all(jobs)
    assert len(jobs) <= most
    number = max(1, min(most, len(packs), int(sum(seconds) // least) if least else most))
    assert len(jobs) == number
    longest = max(sum(seconds[index] for index in job) for job in jobs)
    # No distribution ends before the mean of its jobs; where the last pack comes, its job had less than that to do.
    assert longest <= (sum(seconds) / number + max(seconds)) * (1 + 1e-9)
    assert longest <= 4 / 3 * _best(seconds, number) * (1 + 1e-9)
    for job in jobs:
        assert [seconds[index] for index in job] == sorted((seconds[index] for index in job), reverse=True)


def _best(seconds, number):
    """The least longest job of all distributions; where these are too many to try, infinity."""
    if number ** len(seconds) > 5000:
        return math.inf
    best = {(0.0,) * number}
    for each in seconds:
        best = {tuple(sorted((*load[:job], load[job] + each, *load[job + 1:]))) for load in best
                for job in range(number)}
    return min(load[-1] for load in best)


def test_little_work_is_for_few_jobs():
    packs = [Pack([], 10.0) for _ in range(12)]
    assert len(shared_out(packs, 100, 60.0)) == 2
    assert len(shared_out(packs, 100, 1000.0)) == 1
    assert len(shared_out(packs, 100, 0.0)) == 12
    assert len(shared_out(packs, 5, 0.0)) == 5


# --- options ---


@pytest.mark.parametrize(("given", "message"), [
    ({"max_jobs": 0}, r"hydra.launcher.max_jobs=0: must be at least 1"),
    ({"job_minutes": -1.0}, r"job_minutes=-1.0: must be at least 0"),
    ({"timeout_min": 0}, r"timeout_min=0: must be at least 1"),
    ({"signal_delay_s": 9}, r"signal_delay_s=9: must be at least 10"),
    ({"mem_gb": 0.0}, r"mem_gb=0.0: must be greater than 0"),
    ({"mem_gb": math.nan}, r"mem_gb=nan: must be a finite number"),
    ({"gpu_memory_gb": math.inf}, r"gpu_memory_gb=inf: must be a finite number"),
    ({"job_minutes": math.inf}, r"job_minutes=inf: must be a finite number"),
    ({"runs_per_pack": 0}, r"runs_per_pack=0: must be at least 1"),
    ({"retries": -1}, r"retries=-1: must be at least 0"),
    ({"tiers": [{"mem_gb": 1}, {"mem_gb": 0}]}, r"hydra.launcher.tiers.1.mem_gb=0: must be greater than 0"),
    ({"tiers": [{"memory": 1}]}, r"hydra.launcher.tiers.0.memory=1: no option of a tier; allowed: .*mem_gb"),
    ({"tiers": [{"tiers": []}]}, r"hydra.launcher.tiers.0.tiers=.*no option of a tier"),
    ({"tiers": [{"mem_gb": "lots"}]}, r"hydra.launcher.tiers.0.mem_gb=lots: .*Float"),
    ({"tiers": [{"timeout_min": None}]}, r"hydra.launcher.tiers.0.timeout_min=null: "),
    ({"additional_parameters": {"--x": 1}}, r"additional_parameters=--x: must be the name of an option of sbatch"),
    ({"additional_parameters": {"x y": 1}}, r"additional_parameters=x y: must be the name"),
], ids=str)
def test_a_value_out_of_its_bounds_is_refused(given, message):
    with pytest.raises(ConfigError, match=message):
        Slurm.checked(given)


@pytest.mark.parametrize("name", ["job-name", "job_name", "array", "output", "error", "open_mode", "signal", "ntasks",
                                  "ntasks-per-node", "outp", "job"])
def test_what_ovpnet_sets_itself_is_no_additional_parameter(name):
    with pytest.raises(ConfigError, match=f"additional_parameters={name}: is set by ovpnet"):
        Slurm.checked({"additional_parameters": {name: "x"}})
    with pytest.raises(ConfigError, match=f"tiers.0.additional_parameters={name}: is set by ovpnet"):
        Slurm.checked({"tiers": [{"additional_parameters": {name: "x"}}]})


@pytest.mark.parametrize(("name", "key"), [("time", "timeout_min"), ("mem", "mem_gb"), ("gpus", "gpus_per_node"),
                                           ("cpus_per_task", "cpus_per_task")])
def test_what_packs_are_sized_by_is_no_additional_parameter(name, key):
    with pytest.raises(ConfigError, match=f"additional_parameters={name}: is hydra.launcher.{key}, by which"):
        Slurm.checked({"additional_parameters": {name: 5}})
    with pytest.raises(ConfigError, match="clusters: is not possible"):
        Slurm.checked({"additional_parameters": {"clusters": "east"}})


def test_other_options_of_sbatch_are_additional_parameters():
    Slurm.checked({"additional_parameters": {"reservation": "course", "licenses": "matlab", "nodes": 1,
                                                  "mail-type": "END", "time-min": 5}})


TEXTS = [item.name for item in fields(Slurm) if item.name not in ("_target_", "tiers") and "str" in str(item.type)]


@pytest.mark.parametrize("character", ["\n", "\r", "\x00", "\x1b", "\x7f", "\v"])
def test_no_text_may_break_a_line_wherever_it_is(character):
    bad = f"a{character}touch pwned"
    where = [({name: [bad] if name in ("setup", "srun_args") else bad}, name) for name in TEXTS]
    where += [({"additional_parameters": {"x": bad}}, "additional_parameters"),
              ({"additional_parameters": {bad: 1}}, "additional_parameters"),
              ({"additional_parameters": {"x": {"y": [bad]}}}, "additional_parameters"),
              ({"tiers": [{"comment": bad}]}, "tiers"), ({"tiers": [{}, {"setup": ["true", bad]}]}, "tiers")]
    assert len(where) > 18
    for options, name in where:
        with pytest.raises(ConfigError, match=rf"hydra.launcher.{name}.*=.*touch pwned.*must not contain line breaks"):
            Slurm.checked(options)


@pytest.mark.parametrize("kind", [Local, Subprocess])
def test_launchers_of_this_machine_have_bounds_too(kind):
    with pytest.raises(ConfigError, match=r"hydra.launcher.workers=0: must be at least 1"):
        kind.checked({"workers": 0})
    assert kind.checked({"workers": 3, "retries": 0}).workers == 3


# --- what a shell makes of it ---

def script(options, name, setup, folder):
    """What submitit gives to sbatch."""
    names = submitit_slurm.SlurmExecutor._equivalence_dict()
    given = {names.get(key, key.removeprefix("slurm_")): value for key, value in options.sbatch(name, setup).items()}
    if "mem" in given:
        given["mem"] = submitit_slurm._convert_mem(given["mem"])
    return submitit_slurm._make_sbatch_string("true", folder, map_count=2, **given)


def run_in(folder, text):
    """Let bash read the script, and run it with what it calls out of reach."""
    assert subprocess.run(["bash", "-n"], input=text, text=True, capture_output=True).returncode == 0
    (folder / "bin").mkdir(exist_ok=True)
    srun = folder / "bin" / "srun"
    srun.write_text("#!/bin/sh\n")
    srun.chmod(0o755)
    done = subprocess.run(["bash", "-c", text], cwd=folder, capture_output=True, text=True,
                          env=os.environ | {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}"})
    assert done.returncode == 0, done.stderr
    assert not (folder / "pwned").exists()


@pytest.mark.parametrize("study", EVIL)
def test_the_name_of_a_study_is_never_run(tmp_path, study):
    sweep = Sweep.create(tmp_path / "store", study, {})
    text = script(Slurm(), job_name(sweep, 0), [f"cd {shlex.quote(str(sweep.path))}"], sweep.path / "logs")
    [line] = [line for line in text.splitlines() if "--job-name" in line]
    assert line == f"#SBATCH --job-name={sweep.id}.0"
    run_in(tmp_path, text)


TEXT_OPTIONS = ("partition", "account", "qos", "constraint", "exclude", "nodelist", "dependency", "comment",
                "mail_type", "mail_user", "gres", "mem_per_cpu")


@pytest.mark.parametrize("text", [each for each in EVIL if each.isprintable()])
def test_the_value_of_an_option_is_never_run(tmp_path, text):
    options = Slurm.checked({**dict.fromkeys(TEXT_OPTIONS, text), "additional_parameters": {"reservation": text},
                                  "srun_args": [text]})
    made = script(options, "name", [], tmp_path)
    run_in(tmp_path, made)
    assert f"#SBATCH --comment={shlex.quote(text)}" in made.splitlines()


# --- options of a retry ---


@pytest.mark.parametrize(("overrides", "message"), [
    (["memory=3"], "memory=3: no option of the launcher; allowed: runs_per_pack, .*workers"),
    (["workers=many"], "workers=many: .*many.*Integer"),
    (["workers=0"], "hydra.launcher.workers=0: must be at least 1"),
    (["runs_per_pack=[1"], r"runs_per_pack=\[1: "),
    (["workers"], "workers: .*KEY=VALUE"),
    (["_target_=os.system"], "_target_=os.system: no option"),
    (["dry_run=true"], "dry_run=.*no option of the launcher"),
    (["workers.x=1"], "workers.x=1: "),
], ids=str)
def test_a_bad_option_of_a_retry_is_told(make, recorded, overrides, message):
    with pytest.raises(OvpnetError, match=message):
        retry(recorded([make()]), overrides)
