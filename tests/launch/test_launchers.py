"""The facts that every launcher states, how one is added, and what becomes of records that name one."""

import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass, fields, replace

import pytest
from hydra.core.config_store import ConfigStore

from launch import retry, slurm_commands
from launch.__main__ import main
from launch.launcher import JobState, Launcher, launcher
from launch.launchers import LAUNCHERS, launcher_of
from launch.launchers.here import Here
from launch.launchers.slurm import Slurm, job_name
from launch.launchers.subprocess import Subprocess
from launch.plugins import plugin_name, register
from launch.scheduler import live_groups
from launch.status import status
from launch.sweep import Group, Sweep, write_json
from ovpnet.spec.errors import OvpnetError
from ovpnet.spec.identity import run_id
from tests.launch.conftest import CODE, said
from tests.launch.test_launch_code import SMALL, checkout  # noqa: F401 (a fixture)
from tests.launch.test_launch_status import finished, runs_of, supervised


@pytest.fixture(params=LAUNCHERS)
def kind(request) -> type[Launcher]:
    return LAUNCHERS[request.param]


@pytest.fixture
def registry(monkeypatch):
    """Launchers that a test defines are forgotten after it."""
    monkeypatch.setattr("launch.launcher.REGISTERED", {})


def test_hydra_knows_the_launcher_and_its_plug_in(kind):
    import hydra_plugins.ovpnet.plugins as plugins

    register()
    node = ConfigStore.instance().load(f"hydra/launcher/{kind.name}.yaml").node
    assert node["_target_"] == f"hydra_plugins.ovpnet.plugins.{plugin_name(kind)}"
    assert list(node) == [item.name for item in fields(kind)]
    plugin = getattr(plugins, plugin_name(kind))
    assert (plugin.__module__, plugin.kind.__name__) == (plugins.__name__, kind.__name__)


def test_every_command_of_hydra_finds_all_launchers_without_torch():
    """In a process of its own, which has imported nothing but ovpnet and the plug-ins."""
    told = subprocess.run([sys.executable, "-c", "import sys, ovpnet, hydra_plugins.ovpnet.plugins as found; print("
                           "*sorted("
                           "name for name in vars(found) if name.endswith('Launcher')), 'torch' in sys.modules)"],
                          env=os.environ | {"PYTHONPATH": str(CODE)}, capture_output=True, text=True, check=True)
    assert told.stdout.split() == [*sorted(map(plugin_name, LAUNCHERS.values())), "False"]


def test_a_launcher_is_what_is_on_record_of_it(kind):
    made = kind(runs_per_pack=3)
    kept = json.loads(json.dumps(asdict(made)))
    assert launcher_of(Group(0, "", kind.name, None, [], kept)) == made
    # Of other code: an option that it had not yet, and one that it has no more.
    assert launcher_of(Group(0, "", kind.name, None, [], {"runs_per_pack": 3, "gone": 1, "_target_": "???"})) == made


def test_the_names_that_users_and_records_have():
    assert {name: plugin_name(each) for name, each in LAUNCHERS.items()} == {
        "local": "LocalLauncher", "subprocess": "SubprocessLauncher", "slurm": "SlurmLauncher"}


@pytest.mark.parametrize("lacking", ["waits", "patience_seconds"])
def test_a_launcher_that_lacks_a_fact_is_refused(registry, lacking):
    facts = {"waits": False, "patience_seconds": 1.0}
    kind = dataclass(type("Lazy", (Here,), {name: value for name, value in facts.items() if name != lacking}))
    with pytest.raises(TypeError, match=f"hydra/launcher=lazy: Lazy does not state: {lacking}"):
        launcher("lazy")(kind)
    assert not LAUNCHERS.get("lazy")


def test_a_launcher_that_lacks_a_method_is_refused(registry):
    @dataclass
    class Lazy(Launcher):
        waits, poll_seconds, patience_seconds, requeues, networked, time_key = False, 1.0, 1.0, False, True, ""

    with pytest.raises(TypeError, match="does not state: checkpoint_seconds, cores, jobs, live, machine, most_jobs, "
                                        "retries, stop, submit"):
        launcher("lazy")(Lazy)


def test_a_launcher_that_contradicts_itself_is_refused(registry):
    with pytest.raises(TypeError, match=r"waits=True: a launcher that waits, and no other, has a method `wait`"):
        launcher("lazy")(dataclass(type("Lazy", (Subprocess,), {"waits": True})))
    with pytest.raises(TypeError, match=r"time_key=minutes: is none of its options; allowed: .*retries"):
        launcher("lazy")(dataclass(type("Lazy", (Subprocess,), {"time_key": "minutes"})))


POLITE = '''
import os
from dataclasses import dataclass

from launch.launcher import launcher
from launch.launchers.here import Here
from ovpnet.spec.keys import key


@launcher("polite")
@dataclass
class Polite(Here):
    """hydra/launcher=polite: processes of this machine that are asked to be nice"""

    waits = False
    patience_seconds = 1.0
    niceness: int = key(10, "as in nice", low=0, high=19)

    def submit(self, sweep, group, jobs):
        os.nice(self.niceness)
        super().submit(sweep, group, jobs)
'''


@pytest.mark.slow
def test_a_launcher_is_added_by_one_file(checkout, shell):  # noqa: F811
    (checkout / "launch" / "launchers" / "polite.py").write_text(POLITE)
    shell.environment["PYTHONPATH"] = str(checkout)
    command = ["ovpnet.train", "-m", "hydra/launcher=polite", *SMALL, "seed=1,2"]
    assert "hydra.launcher.niceness=20: must be at most 19" in shell(*command, "hydra.launcher.niceness=20", code=1)
    told = shell(*command, "hydra.launcher.niceness=7")
    assert "submitted" in told
    shell.wait()
    [sweep] = [Sweep(file.parent) for file in shell.store.glob("sweeps/*/*/sweep.json")]
    assert sweep.group(0).options["niceness"] == 7
    assert "training 2 runs" in said(sweep)
    assert "nothing to submit" in shell("launch", "retry", "niceness=3")
    assert "niceness=20: must be at most 19" in shell("launch", "retry", "niceness=20", code=1)


# --- records ---


@pytest.fixture
def configs(make):
    config = make()
    return [replace(config, seed=seed) for seed in range(4)]


def test_a_record_of_a_launcher_that_is_not_here_hurts_no_other(configs, recorded, capsys, caplog):
    strange = recorded(configs[:2], launcher="lsf", study="strange")
    other = recorded(configs[2:], study="other")
    for command in ("status", "wait", "cancel", "logs", "retry"):
        assert main([command, strange.id, "--store", str(strange.store)]) == 1
        assert "error: launcher=lsf: not known here; allowed: local, slurm, subprocess" in capsys.readouterr().err
    assert [(sweep.id, group.number) for sweep, group in live_groups([strange, other])] == [(other.id, 0)]
    assert f"launcher=lsf of {strange.id} is not known here, so its jobs count as ended" in caplog.text
    assert status(other).runs["pending"] == 2


# What a sweep had on record when launchers were options and functions: sweep.json and group-0.json, of 0.1.0.
OLD_SLURM = {
    "_target_": "", "runs_per_pack": None, "dry_run": False, "max_jobs": 100, "job_minutes": 5.0,
    "array_parallelism": 256, "timeout_min": 240, "max_num_timeout": 50, "signal_delay_s": 90, "retries": 2,
    "gpus_per_node": None, "gpus_per_task": None, "gres": None, "gpu_memory_gb": 16.0, "cpus_per_task": 2,
    "mem_gb": 8.0, "mem_per_cpu": None, "mem_per_gpu": None, "partition": "long", "account": None, "qos": None,
    "constraint": None, "exclude": None, "nodelist": None, "exclusive": None, "dependency": None, "comment": None,
    "mail_type": None, "mail_user": None, "additional_parameters": {"nodes": 1}, "setup": ["module load cuda"],
    "srun_args": [], "python": None, "tiers": []}
OLD = {"local": {"_target_": "", "runs_per_pack": None, "dry_run": False, "workers": None, "retries": 2},
       "subprocess": {"_target_": "", "runs_per_pack": None, "dry_run": False, "workers": 1, "retries": 2},
       "slurm": OLD_SLURM}


@pytest.fixture
def old(configs, recorded, tmp_path):
    """old("slurm") -> a sweep of 4 runs in 2 jobs, as that code had it on record."""
    def old(name: str) -> Sweep:
        sweep = recorded(configs, size=2, jobs=[[0], [1]])
        group = {"number": 0, "submitted_at": sweep.groups()[0].submitted_at, "launcher": name,
                 "code": str(tmp_path), "jobs": [[0], [1]], "options": OLD[name]}
        write_json(sweep.path / "group-0.json", group)
        write_json(sweep.path / "sweep.json", {
            "study": "a study", "created_at": "2026-01-01T00:00:00+00:00", "command": "python -m ovpnet.train -m",
            "directory": "/", "user": "somebody", "host": "login", "launcher": name, "options": OLD[name], "asked": 4,
            "distinct": 4, "finished": 0})
        return sweep

    return old


@pytest.fixture
def resubmitted(monkeypatch):
    """The launchers and groups that a retry submits."""
    found: list[tuple[Launcher, Group]] = []
    monkeypatch.setattr(retry, "snapshot", lambda store: store)
    for each in (Slurm, Subprocess):
        monkeypatch.setattr(each, "submit", lambda self, sweep, group, jobs: found.append((self, group)))
    return found


def test_the_options_of_an_old_record_are_those_of_the_launcher(old, kind):
    [group] = old(kind.name).groups()
    assert OLD[kind.name].keys() == {item.name for item in fields(kind)}
    assert asdict(launcher_of(group)) == OLD[kind.name]


def test_an_old_sweep_of_processes_is_looked_at_cancelled_and_tried_again(old, configs, resubmitted, capsys):
    sweep = old("subprocess")
    supervised(sweep, ended=1.0, started=0.0, how="interrupted")
    supervised(sweep, task=1, ended=1.0, started=0.0, how="done")
    for config in configs[2:]:
        finished(sweep, config)
    assert [job.state for job in status(sweep).jobs] == ["CANCELLED", "COMPLETED"]
    assert runs_of(sweep) == {"done": 2, "left": 2}
    assert main(["cancel", "--store", str(sweep.store)]) == 0
    assert "no job runs or waits" in capsys.readouterr().out
    assert retry.retry(sweep, ["workers=3"]).endswith("predicted in all")
    [(made, group)] = resubmitted
    assert made == Subprocess(_target_="", workers=3)
    assert [pack.runs for pack in sweep.packs(group.number)] == [[run_id(config) for config in configs[:2]]]


def test_an_old_sweep_of_slurm_is_looked_at_cancelled_and_tried_again(old, configs, resubmitted, monkeypatch):
    sweep = old("slurm")
    name, queue, asked = job_name(sweep, 0), [], []
    assert name == f"{sweep.id}.0"
    queue += [f"12_1|{name}|PENDING|Priority", "13|another|RUNNING|None"]
    accounts = ["JobID|JobName|State|ElapsedRaw|AllocTRES|NodeList",
                f"12_0|{name}|PREEMPTED|60|cpu=2,gres/gpu=2|n1", f"12_0|{name}|OUT_OF_MEMORY|30|cpu=2,gres/gpu=2|n2",
                f"12_[1-1]|{name}|PENDING|0||"]

    def run(*command, utc=False):
        asked.append(command)
        return "\n".join({"squeue": queue, "sacct": accounts, "scancel": []}[command[0]])

    monkeypatch.setattr(slurm_commands, "_run", run)
    monkeypatch.setattr("shutil.which", lambda name: name)
    one, other = status(sweep).jobs
    assert one == JobState(0, 0, "OUT_OF_MEMORY", "12_0", "n2", 90.0, 180.0)
    assert other == JobState(0, 1, "PENDING", "12_1", reason="Priority")
    assert [group.number for _, group in live_groups([sweep])] == [0]
    assert main(["cancel", "--store", str(sweep.store)]) == 0
    assert [command for command in asked if command[0] == "scancel"] == [("scancel", "--me", f"--name={name}")]
    queue.pop(0)
    accounts[-1] = f"12_1|{name}|CANCELLED by 0|0||"
    assert [job.state for job in status(sweep).jobs] == ["OUT_OF_MEMORY", "CANCELLED"]
    assert "4 runs submitted again" in retry.retry(sweep, ["mem_gb=32"])
    [(made, group)] = resubmitted
    assert made == Slurm(**OLD_SLURM | {"mem_gb": 32.0, "runs_per_pack": 1})
    assert sorted(len(pack.runs) for pack in sweep.packs(group.number)) == [1, 1, 1, 1]


def test_an_old_sweep_of_this_process_is_continued_by_its_command(old):
    with pytest.raises(OvpnetError, match="was trained by hydra/launcher=local: the same command continues it: python"):
        retry.retry(old("local"), [])
