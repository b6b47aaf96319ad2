"""A SLURM cluster on this machine: two nodes with four GPUs by name, accounting, partitions of which one preempts.

Everything of it lies in one folder, on ports that were free, so that two clusters do not meet. To play with one:

    python -m tests.slurm.cluster start
    eval "$(python -m tests.slurm.cluster shell-env)"    # sinfo, sbatch, sacct, ... of this shell then speak to it
    python -m tests.slurm.cluster stop
"""

import argparse
import getpass
import os
import random
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Self

PACKAGES = "slurm-wlm slurmdbd munge mariadb-server"
NODES = ("gpu1", "gpu2")
# Daemons in the order of their start, as the kernel names them; slurmctld and slurmd have helpers of other names.
DAEMONS = ("munged", "mariadbd", "slurmdbd", "slurmctld", *NODES)
COMMANDS = {"munged", "mariadbd", "slurmdbd", "slurmctld", "slurmscriptd", "slurmd", "slurmstepd"}

# Times are short so that tests wait little:
#   cred_expire      how long a requeued job must wait before it starts again (two minutes by default)
#   KillWait         from SIGTERM to SIGKILL, where a job is cancelled, preempted or over its time
#   SlurmdTimeout    how long a node may be silent before it is down and its jobs are requeued; it is asked every third
#                    of it, and for MessageTimeout each time
#   SchedulerParameters   the scheduler looks at once and every second
# Without DefMemPerCPU a job that asks for no memory would get all of its node. With config_overrides nodes have the
# CPUs and the memory that are written here, whatever this machine has.
SLURM_CONF = """\
ClusterName=test
SlurmctldHost=localhost
SlurmctldPort={ports[0]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdSpoolDir={folder}/spool/%n
SlurmdPidFile={folder}/%n.pid
SlurmdLogFile={folder}/log/%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
ReturnToService=2

KillWait=5
SlurmdTimeout=10
MessageTimeout=5
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1
JobRequeue=1

AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=localhost
AccountingStoragePort={ports[1]}
AccountingStoragePass={folder}/munge.socket
AccountingStorageTRES=gres/gpu
JobAcctGatherType=jobacct_gather/linux

SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=500
SlurmdParameters=config_overrides
GresTypes=gpu
NodeName=DEFAULT CPUs=16 RealMemory=16000 Gres=gpu:h100:4
NodeName=gpu1 NodeHostname=localhost Port={ports[2]}
NodeName=gpu2 NodeHostname=localhost Port={ports[3]}

PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
PartitionName=DEFAULT Nodes=ALL MaxTime=UNLIMITED
PartitionName=low PriorityTier=1 Default=YES
PartitionName=grace PriorityTier=1 GraceTime=5
PartitionName=high PriorityTier=10
"""

# slurmd wants device files; all that it does with them is to count them, so any will do.
GRES_CONF = "NodeName=gpu[1-2] Name=gpu Type=h100 File={folder}/gpus/gpu[0-3]\n"

# MYSQL_UNIX_PORT, which libmysql reads, says where the database is.
SLURMDBD_CONF = """\
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
DbdHost=localhost
DbdPort={ports[1]}
SlurmUser={user}
PidFile={folder}/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser={user}
"""


class ClusterError(Exception):
    """A daemon that did not come up, a command that failed, or something that did not happen in time."""


def missing() -> str | None:
    """What is not installed, in words; None where everything is."""
    programs = ("munged", "mariadbd", "slurmdbd", "slurmctld", "slurmd", "sbatch", "srun", "sacct")
    absent = [program for program in programs if not shutil.which(program, path=_path())]
    return f"no {', '.join(absent)} here; on Debian or Ubuntu: sudo apt-get install {PACKAGES}" if absent else None


def wait_for(condition: Callable[[], bool], what: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise ClusterError(f"after {seconds:g} s: no {what}")
        time.sleep(0.1)


class Cluster:
    """`with Cluster() as cluster:` stops it however this process ends; after start() alone it runs until stop()."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or Path(tempfile.gettempdir()) / f"ovpnet-slurm-{os.getpid()}"
        self._started: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        # Its input ends with this process, also where that is killed.
        self._guard = subprocess.Popen(
            ["sh", "-c", 'read _; exec "$@"', "sh", sys.executable, __file__, "stop", "--folder", str(self.folder)],
            stdin=subprocess.PIPE, start_new_session=True)
        try:
            self.start()
        except BaseException:
            self._dismiss_guard()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._dismiss_guard()

    def _dismiss_guard(self) -> None:
        self._guard.kill()
        self._guard.communicate()

    @property
    def env(self) -> dict[str, str]:
        """In it SLURM's commands speak to this cluster, also where this process is itself a job of another."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "SBATCH", "SRUN"))}
        return kept | {"PATH": _path(), "SLURM_CONF": str(self.folder / "slurm.conf")}

    # Starting and stopping

    def start(self) -> None:
        """Returns when both nodes are idle."""
        if self.folder.exists():
            raise ClusterError(f"{self.folder} exists; a cluster starts in a new folder")
        try:
            self._write_files()
            folder, user = self.folder, getpass.getuser()
            self._daemon("munged", "munged", "--foreground", "--num-threads=10", f"--socket={folder}/munge.socket",
                         f"--key-file={folder}/munge.key", f"--seed-file={folder}/munge.seed",
                         f"--pid-file={folder}/munged.pid")
            # An empty folder is a database without privileges; nobody else gets into the folder of its socket.
            self._daemon("mariadbd", "mariadbd", "--no-defaults", f"--datadir={folder}/database", f"--user={user}",
                         f"--socket={folder}/database/socket", "--skip-networking", "--skip-grant-tables")
            self._wait_for_daemon("munged", lambda: (folder / "munge.socket").exists())
            self._wait_for_daemon("mariadbd", lambda: (folder / "database" / "socket").exists())
            self._daemon("slurmdbd", "slurmdbd", "-D")
            self._wait_for_daemon("slurmdbd", lambda: bool(self.run("sacctmgr", "-i", "add", "cluster", "test")))
            self._daemon("slurmctld", "slurmctld", "-D")
            for node in NODES:
                self.start_node(node, wait=False)
            self._wait_for_daemon("slurmctld", lambda: bool(self.run("scontrol", "ping")))
            for node in NODES:
                self._wait_for_node(node)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Ends every process of the cluster and of its jobs, and removes its folder."""
        for node in NODES:
            self.kill_node(node)
        self._kill(lambda: [pid for name in DAEMONS for pid in self._daemons(name)])
        shutil.rmtree(self.folder, ignore_errors=True)

    def _write_files(self) -> None:
        self.folder.mkdir(parents=True, mode=0o755)  # munged wants a folder that others may enter
        for name in ("log", "state", "spool", "gpus"):
            (self.folder / name).mkdir()
        for node in NODES:
            (self.folder / "spool" / node).mkdir()
        (self.folder / "database").mkdir(mode=0o700)
        for gpu in range(4):
            (self.folder / "gpus" / f"gpu{gpu}").symlink_to("/dev/null")
        values = {"folder": self.folder, "user": getpass.getuser(), "ports": _free_ports(4)}
        files = {"munge.key": os.urandom(64), "slurm.conf": SLURM_CONF.format(**values).encode(),
                 "gres.conf": GRES_CONF.format(**values).encode(),
                 "slurmdbd.conf": SLURMDBD_CONF.format(**values).encode()}
        for name, content in files.items():
            (self.folder / name).touch(mode=0o600)
            (self.folder / name).write_bytes(content)

    def _daemon(self, name: str, *command: str) -> None:
        env = self.env | {"MYSQL_UNIX_PORT": str(self.folder / "database" / "socket")}
        with (self.folder / "log" / f"{name}.out").open("ab") as out:
            # In a session of its own, Ctrl-C in the terminal of the tests does not reach it.
            self._started[name] = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                                   cwd="/", start_new_session=True)

    def _wait_for_daemon(self, name: str, ready: Callable[[], bool]) -> None:
        said = ""

        def ready_or_ended() -> bool:
            nonlocal said
            if self._started[name].poll() is not None:
                return True
            try:
                return ready()
            except ClusterError as error:
                said = f"{error}\n"
                return False

        try:
            wait_for(ready_or_ended, f"answer of {name}")
            if (status := self._started[name].poll()) is None:
                return
            failure = f"{name} ended with status {status}"
        except ClusterError as error:
            failure = str(error)
        log = (self.folder / "log" / f"{name}.out").read_text(errors="replace").splitlines()
        raise ClusterError("\n".join([f"{failure}\n{said}The end of its log:", *log[-15:]]))

    def _wait_for_node(self, node: str) -> None:
        self._wait_for_daemon(node, lambda: self.state(node) == "idle")

    # Nodes

    def state(self, node: str) -> str:
        """As sinfo says it: idle, mixed, allocated, down*, ...; empty where slurmctld does not answer."""
        done = self._do("sinfo", "--noheader", "--Node", f"--nodes={node}", "--partition=low", "--format=%T")
        return done.stdout.strip()

    def start_node(self, node: str, wait: bool = True) -> None:
        """Starts slurmd of a node that is off; a node that is down is up again as soon as it registers.

        Of a node that comes back before SLURM misses it, jobs count as running still.
        """
        self._daemon(node, "slurmd", "-D", "-N", node)
        if wait:
            self._wait_for_node(node)

    def kill_node(self, node: str) -> None:
        """As if the node lost its power: nobody there says goodbye. SLURM notices it after SlurmdTimeout and more."""
        self._kill(lambda: self._daemons(node))  # first, or else slurmstepd would report that its task was killed
        self._kill(lambda: self._tasks(node))

    def set_down(self, node: str) -> None:
        """What SLURM does by itself with a node that it misses, for tests that need not see it being missed."""
        self.run("scontrol", "update", f"nodename={node}", "state=down", "reason=test")

    def resume(self, node: str) -> None:
        """For a node that was set down or drained by hand, or by SLURM for a reason that is over."""
        self.run("scontrol", "update", f"nodename={node}", "state=resume")

    def reset(self) -> None:
        """No jobs, and every node up and idle."""
        user = f"--user={getpass.getuser()}"
        self._do("scancel", user)
        self._do("scancel", user, "--full", "--signal=KILL")  # without KillWait
        for node in NODES:
            if not self._daemons(node):
                self.start_node(node, wait=False)
        wait_for(lambda: not self.run("squeue", "--noheader") and all(self.state(node) == "idle" for node in NODES),
                 "cluster without jobs")

    # Commands

    def run(self, *command: str) -> str:
        """What the command printed; raises ClusterError where it failed."""
        done = self._do(*command)
        if done.returncode:
            raise ClusterError(f"{shlex.join(command)}: {done.stderr.strip()}")
        return done.stdout.strip()

    def jobs(self, *ids: str, duplicates: bool = False,
             fields: str = "JobID,State,NodeList,AllocTRES,ElapsedRaw,ExitCode") -> list[dict[str, str]]:
        """What sacct says of jobs and array tasks, oldest first; with duplicates, of every start of a requeued one.

        Accounting is some seconds behind, so tests wait for what they look for.
        """
        lines = self.run("sacct", "-X", "--parsable2", "--starttime=now-1days", f"--format={fields}",
                         *(["--duplicates"] if duplicates else []), *([f"--jobs={','.join(ids)}"] if ids else []))
        header, *rows = (line.split("|") for line in lines.splitlines())
        return [dict(zip(header, row, strict=True)) for row in rows]

    def _do(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, env=self.env, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              check=False)

    # Processes, found by what they are and not by a noted number, so that none escapes and no other is hit

    def _daemons(self, name: str) -> list[int]:
        """The daemon and its helpers, slurmstepd among them: they have its log open."""
        log = str(self.folder.absolute() / "log" / f"{name}.")

        def has_log(process: Path) -> bool:
            return (process / "comm").read_text().strip() in COMMANDS and any(
                os.readlink(each).startswith(log) for each in (process / "fd").iterdir())

        return [int(process.name) for process in _processes(has_log)]

    def _tasks(self, node: str) -> list[int]:
        """Processes of jobs on the node."""
        marks = {f"SLURM_CONF={self.folder}/slurm.conf".encode(), f"SLURMD_NODENAME={node}".encode()}
        return [int(process.name) for process in
                _processes(lambda process: marks <= set((process / "environ").read_bytes().split(b"\0")))]

    def _kill(self, found: Callable[[], list[int]]) -> None:
        def none_left() -> bool:
            for pid in (pids := found()):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            for process in self._started.values():
                process.poll()
            return not pids

        wait_for(none_left, "end of processes that were killed")


def _processes(chosen: Callable[[Path], bool]) -> Iterator[Path]:
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # ended, or another person's
            if chosen(process):
                yield process


def _free_ports(number: int) -> list[int]:
    """Below those that the system gives to connections, so that they are still free when a node starts again."""
    ports: list[int] = []
    for port in random.sample(range(20000, 30000), 200):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("", port))
            ports.append(port)
        if len(ports) == number:
            return ports
    raise ClusterError("no free ports between 20000 and 30000")


def _path() -> str:
    """The PATH, and where Debian has daemons, which is not on everyone's."""
    return os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin"])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.slurm.cluster", description="A SLURM cluster to play with.")
    parser.add_argument("command", choices=["start", "stop", "status", "shell-env"])
    default = Path(tempfile.gettempdir()) / f"ovpnet-slurm-{getpass.getuser()}"
    parser.add_argument("--folder", type=Path, default=default, help="where everything of it lies (%(default)s)")
    arguments = parser.parse_args()
    cluster = Cluster(arguments.folder.absolute())
    try:
        if arguments.command in ("status", "shell-env") and not cluster.folder.exists():
            raise ClusterError(f"no cluster in {cluster.folder}; `python -m tests.slurm.cluster start` starts one")
        if arguments.command == "start":
            if lack := missing():
                raise ClusterError(lack)
            cluster.start()
        elif arguments.command == "stop":
            cluster.stop()
        elif arguments.command == "status":
            print(cluster.run("sinfo", "--Node", "--long"), cluster.run("squeue", "--long"), sep="\n\n")
        else:
            print(f"export SLURM_CONF={shlex.quote(cluster.env['SLURM_CONF'])}")
    except ClusterError as error:
        parser.exit(1, f"{error}\n")


if __name__ == "__main__":
    main()
