"""The record of a sweep, STORE/sweeps/UID/ID: what was asked for, its packs, and which job trains which.

    sweep.json             the command, who gave it, the launcher's options
    packs-G.parquet        a row per pack of group G: its runs and their configs, the time and memory predicted
    group-G.json           a submission, one job array: the packs of each of its jobs, and the code that they run
    jobs/G-T.json          the state of job T of group G, by its supervisor (`launch.job_file`)
    jobs/G-T.progress.json the state of its worker (`launch.work`)
    parts/G-P.json         the parts of pack P, if it ended its worker and was cut (`launch.job`)
    claims/G-P             the job that has taken pack P of group G (`launch.claims`)
    logs/                  submitit's own: what jobs print, pickles of a few hundred bytes

The first submission is group 0. Every later one (`ovpnet launch retry`) is a further group. All files are whole and
renamed into place, each by one writer. So no lock is needed on a file system shared by many machines. Their number
grows with packs and jobs, not with runs. Only the user who made the folder can read or write it: jobs run what they
find there.
"""

import json
import os
import re
import shlex
import stat
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from launch.packs import Pack
from ovpnet.record.store import remove, write_whole
from ovpnet.spec.config import NODES, Config
from ovpnet.spec.errors import OvpnetError
from ovpnet.spec.identity import run_id
from ovpnet.spec.schemas import as_chosen, default_store, node_of
from ovpnet.terminal.commands import as_typed


@dataclass(frozen=True)
class Listed:
    """A pack as it is listed: it has no configs."""

    number: int
    runs: list[str]  # run_ids, in the order of the members
    seconds: float  # predicted
    memory: int  # bytes, predicted


@dataclass(frozen=True)
class Group:
    """One submission: a job array, or processes on this machine."""

    number: int
    submitted_at: str
    launcher: str  # its name
    code: str | None  # folder of the copy of the code that its jobs run; None if they run the checkout
    jobs: list[list[int]]  # packs of each job, by number
    options: dict[str, Any]  # the launcher's


class Sweep:
    """A sweep on record."""

    def __init__(self, path: Path):
        self.path = path

    @property
    def id(self) -> str:
        """The name of the folder: study, date and time, and four digits that tell apart sweeps of one second."""
        return self.path.name

    @property
    def store(self) -> Path:
        """The store that the sweep is in."""
        return self.path.parents[2]

    @classmethod
    def create(cls, store: Path, study: str, about: Mapping[str, Any]) -> "Sweep":
        """Make the folder, which only this user can enter. Raises OSError."""
        name = re.sub(r"[^A-Za-z0-9_.-]+", "-", study).strip(".-")[:60] or "sweep"
        now = datetime.now(UTC)
        sweep = cls(own_folder(store) / f"{name}-{now:%Y%m%d-%H%M%S}-{uuid.uuid4().hex[:4]}")
        sweep.path.mkdir(mode=0o700)
        for folder in ("jobs", "logs"):
            (sweep.path / folder).mkdir(mode=0o700)
        write_json(sweep.path / "sweep.json", {"study": study, "created_at": now.isoformat(), **about})
        return sweep

    def about(self) -> dict[str, Any]:
        """Return the content of sweep.json."""
        return read_json(self.path / "sweep.json") or {}

    # --- groups ---

    def add(self, packs: Sequence[Pack], jobs: Sequence[Sequence[int]], launcher: str, options: Mapping[str, Any],
            code: str | None) -> Group:
        """Record a group before it is submitted; `jobs` has indices into `packs`.

        Packs that no job has wait for a retry.
        """
        table = pa.table({
            "pack": pa.array(range(len(packs)), pa.int32()),
            "runs": pa.array([[run_id(config) for config in pack.configs] for pack in packs], pa.list_(pa.string())),
            "configs": pa.array([encode(pack.configs) for pack in packs], pa.string()),
            "seconds": pa.array([pack.seconds for pack in packs], pa.float64()),
            "memory": pa.array([pack.memory for pack in packs], pa.int64()),
        })
        made = self.path / f".tmp-packs-{uuid.uuid4().hex}"
        pq.write_table(table, made, compression="zstd", row_group_size=16)
        number = self._numbered(made)
        group = Group(number, datetime.now(UTC).isoformat(), launcher, code, [list(job) for job in jobs], dict(options))
        write_json(self.path / f"group-{number}.json", vars(group))
        return group

    def _numbered(self, made: Path) -> int:
        """Give the file the name of the next group. It is a link, so that two commands at once get two numbers."""
        number = 0
        while True:
            try:
                os.link(made, self.path / f"packs-{number}.parquet")
            except FileExistsError:
                number += 1
                continue
            remove(made)
            return number

    def withdraw(self, group: Group) -> None:
        """Leave the packs of a group that could not be submitted to a retry. Raises OSError."""
        write_json(self.path / f"group-{group.number}.json", vars(group) | {"jobs": []})

    def groups(self) -> list[Group]:
        """Return all submissions, in order."""
        found = [read_json(file) for file in self.path.glob("group-*.json")]
        names = [item.name for item in fields(Group)]
        return sorted((Group(**{name: each[name] for name in names}) for each in found
                       if each and each.keys() >= set(names)), key=lambda group: group.number)

    def group(self, number: int) -> Group:
        """Return a group, for a job: a shared file system may take a while to show a new file. Raises OvpnetError."""
        for _ in range(60):
            if found := read_json(self.path / f"group-{number}.json"):
                return Group(**found)
            time.sleep(1)
        raise OvpnetError(f"{self.path}: no group-{number}.json, so nothing says what this job is to train")

    def packs(self, group: int) -> list[Listed]:
        """Return the packs of a group, without their configs. Raises OvpnetError, OSError."""
        file = self.path / f"packs-{group}.parquet"
        try:
            table = pq.read_table(file, columns=["pack", "runs", "seconds", "memory"])
        except pa.ArrowException as error:
            raise OvpnetError(f"{file}: not a whole Parquet file; submit the sweep again, by its own command "
                              "(what is stored is skipped), and remove the folder of this one") from error
        return [Listed(row["pack"], row["runs"], row["seconds"], row["memory"]) for row in table.to_pylist()]

    def parts(self, group: int, pack: Listed) -> list[list[str]]:
        """Return the runs of a pack, in the parts that it was cut into since it was submitted."""
        return (read_json(self._parts(group, pack)) or {}).get("parts", [pack.runs])

    def cut(self, group: int, pack: Listed, parts: Sequence[Sequence[str]]) -> None:
        """Train a pack in these parts from now on. Only the job that has claimed it may do so. Raises OSError."""
        self._parts(group, pack).parent.mkdir(mode=0o700, exist_ok=True)
        write_json(self._parts(group, pack), {"parts": parts})

    def _parts(self, group: int, pack: Listed) -> Path:
        return self.path / "parts" / f"{group}-{pack.number}.json"

    def configs(self, group: int, packs: Sequence[int]) -> Iterator[tuple[int, list[Config]]]:
        """Yield (pack, configs) for some packs of a group, in that order.

        The configs name the store that holds this record, which may have been moved.
        """
        table = pq.read_table(self.path / f"packs-{group}.parquet", columns=["pack", "configs"],
                              filters=[("pack", "in", list(packs))])
        found = dict(zip(table["pack"].to_pylist(), table["configs"].to_pylist(), strict=True))
        for pack in packs:
            yield pack, [replace(config, store=str(self.store)) for config in decode(found[pack])]

    # --- jobs ---

    def job_file(self, group: int, task: int, kind: str = "") -> Path:
        """Return the path of jobs/G-T.json, or with kind="progress" of jobs/G-T.progress.json."""
        return self.path / "jobs" / f"{group}-{task}{kind and '.'}{kind}.json"


def listed(store: Path) -> list[Sweep]:
    """Return the sweeps of a store, as `sweeps` does. Raises OvpnetError if there are none."""
    if found := sweeps(store):
        return found
    raise OvpnetError(f"no sweep in {store}: name another with --store, or begin one: {as_typed('train -m')}")


def sweeps(store: Path) -> list[Sweep]:
    """Return all sweeps of a store that this user can read, the oldest first."""
    found = [(each["created_at"], Sweep(file.parent)) for file in (store.resolve() / "sweeps" / str(os.getuid())).glob(
        "*/sweep.json")
             if "created_at" in (each := read_json(file) or {})]
    return [sweep for _, sweep in sorted(found, key=lambda pair: pair[0])]


def find(store: Path, name: str | None) -> Sweep:
    """Return the sweep of that id, or the only one whose id it is a part of. Raises OvpnetError.

    Without a name, return the latest sweep.
    """
    known = listed(store)
    matching = [sweep for sweep in known if name is None or name == sweep.id] or [
        sweep for sweep in known if name is not None and name in sweep.id]
    if name is not None and len(matching) != 1:
        several = "is part of several ids" if matching else "is no sweep"
        raise OvpnetError(f"{name}: {several} of {store}; allowed: "
                          + ", ".join(sweep.id for sweep in (matching or known)[-20:]))
    return matching[-1]


def own_folder(store: Path) -> Path:
    """Make and return STORE/sweeps/UID, this user's own folder in a store that several may share. Raises OSError."""
    folder = store.resolve() / "sweeps" / str(os.getuid())
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    check_private(folder)
    return folder


def check_private(path: Path) -> None:
    """Raise OvpnetError if somebody else could have changed the folder, from which something is about to be run."""
    about = path.stat()
    if about.st_uid != os.getuid() or about.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise OvpnetError(f"{path}: belongs to another user, or others can write to it, so nothing in it is run; "
                          "submit the sweep again")


def store_option(store: Path) -> str:
    """Return the option that names this store to a command; "" if it is the default."""
    return "" if store == Path(default_store()).resolve() else f" --store {shlex.quote(os.path.relpath(store))}"


# --- configs ---


def encode(configs: Sequence[Config]) -> str:
    """Return the configs of a pack as JSON: the first one whole, and every value of the keys in which they differ."""
    return json.dumps({"config": _plain(configs[0]), "members": len(configs), "differ": _differing(configs)})


def decode(text: str) -> list[Config]:
    """Return the configs that were given to `encode`."""
    content = json.loads(text)
    first, differ = _config(content["config"]), content["differ"]
    return [as_chosen(_with(first, {name: values[e] for name, values in differ.items()}))
            for e in range(content["members"])]


def _plain(node: Any) -> Any:
    if not is_dataclass(node):
        return node
    return {item.name: _plain(getattr(node, item.name)) for item in fields(node)}


def _config(plain: dict[str, Any]) -> Config:
    """Return the config of `_plain`. (Older records name the nodes' classes, under `_node_`.)"""
    known = {item.name for item in fields(Config)}
    values = {name: value for name, value in plain.items() if name in known}
    return Config(**values | {name: node_of(name, {key: value for key, value in plain[name].items() if key != "_node_"})
                              for name in NODES})


def _differing(nodes: Sequence[Any], prefix: str = "") -> dict[str, list[Any]]:
    """Return the dotted keys in which nodes of one type differ, with the values of all of them."""
    found: dict[str, list[Any]] = {}
    for item in fields(nodes[0]):
        values = [getattr(node, item.name) for node in nodes]
        if is_dataclass(values[0]):
            if any(value is not values[0] for value in values):  # configs of one sweep share most of their nodes
                found |= _differing(values, f"{prefix}{item.name}.")
        elif any(value != values[0] for value in values) or (
                values[0] == 0 and any(str(value) != str(values[0]) for value in values)):  # -0.0, which is another run
            found[prefix + item.name] = values
    return found


def _with(node: Any, values: Mapping[str, Any]) -> Any:
    """Return the node with other values of some dotted keys."""
    nested: dict[str, dict[str, Any]] = {}
    own = {}
    for name, value in values.items():
        head, dot, rest = name.partition(".")
        if dot:
            nested.setdefault(head, {})[rest] = value
        else:
            own[name] = value
    return replace(node, **own, **{name: _with(getattr(node, name), each) for name, each in nested.items()})


# --- files ---


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a whole file or none. Raises OSError."""
    text = json.dumps(dict(content), indent=1).encode()
    write_whole(path, lambda sink: sink.write(text))


def read_json(path: Path) -> dict[str, Any] | None:
    """Return the content of the file; None if there is no such file, or it is no JSON object."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None
