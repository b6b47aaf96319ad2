"""`ovpnet launch sync`: upload the runs of a store to W&B, in parallel, under a request rate, and each run once.

The store has all that W&B shows, so jobs without a network write nothing for it. Here rows become W&B's own offline
files, a batch at a time in a temporary directory. `wandb sync` uploads a batch while the next one is written. The store
remembers what has arrived (ovpnet/record/uploads.py). So the same command goes on from where it was interrupted, and
uploads again, under the same id, only runs that have changed since. This works for a store of any tracker, `none`
included.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ovpnet.record.store import Store
from ovpnet.record.tracking import Row, Target, base_url, log_in, report, tracked, upload
from ovpnet.record.uploads import Uploads
from ovpnet.spec.config import TrackerConfig
from ovpnet.spec.errors import TrackerError
from ovpnet.spec.schemas import default_store
from ovpnet.terminal.progress import Progress
from ovpnet.terminal.words import count

BATCH = 100  # W&B runs per `wandb sync`, which takes a second to start; two batches are on the disk at a time
PER = ("run", "pack", "sweep")

# HTTP requests, at most (tests/test_sync.py counts them): per W&B run, by what it holds (a table is a file and an
# artifact); besides, per run that is there already; per batch; and to log in.
REQUESTS = {"run": 8, "pack": 16, "sweep": 16}
RESUME_REQUESTS, BATCH_REQUESTS, LOGIN_REQUESTS = 2, 3, 4
HOPELESS = 10  # if so many W&B runs in a row do not arrive, the others would not either
PERIOD = 60.0  # seconds in which at most --rate requests are made


@dataclass(frozen=True)
class Result:
    """The number of W&B runs that were there already, the number uploaded, and why others were not."""

    known: int
    uploaded: int
    failed: dict[str, str]


@dataclass(frozen=True)
class Pending:
    """A W&B run to upload, and the rows of the store that it is made of."""

    target: Target
    rows: np.ndarray
    mark: Row


def sync(store: Path, study: str | None = None, per: str | None = None, project: str | None = None,
         entity: str | None = None, parallel: int = 8, rate: int | None = None, dry_run: bool = False) -> Result:
    """Upload the runs that are in the store and not in W&B.

    If `per`, `project` or `entity` is not given, it is the runs' own. `parallel` W&B runs are uploaded at a time, in at
    most `rate` requests per minute. Whatever ends the upload, the runs that have arrived are remembered. Raises
    TrackerError, StoreError.
    """
    table = _rows(Store(store), study)
    uploads = Uploads(store)
    found = _pending(table, per, project, entity)
    pending = [each for each in found if not uploads.has(each.mark)]
    known = len(found) - len(pending)
    if dry_run or not pending:
        _announce(pending, known)
        return Result(known, 0, {})
    if rate is not None and rate < (least := max(_cost(each.target.per, 1) for each in pending)):
        raise TrackerError(f"--rate={rate}: at least {least}, the requests that one W&B run costs")
    log_in()
    with tempfile.TemporaryDirectory(prefix="ovpnet-sync-") as directory:
        pace = Pace(rate)
        pace.note(LOGIN_REQUESTS)
        uploader = _Uploader(uploads, Path(directory), parallel, pace, len(pending))
        try:
            uploader.upload(pending, _reader(table, Store(store)))
        finally:
            uploader.close()
            uploads.merge()
    return Result(known, uploader.uploaded, uploader.failed)


def _cost(per: str, runs: int) -> int:
    """Return the most requests that a batch of W&B runs takes."""
    return BATCH_REQUESTS + runs * (REQUESTS[per] + RESUME_REQUESTS)


def _rows(store: Store, study: str | None) -> pa.Table:
    """Return the newest row of every run, of one study or of all."""
    table = store.newest_runs()
    if not table.num_rows:
        raise TrackerError(f"--store={store.path}: no runs are stored there; give the store of a sweep")
    if study is None:
        return table
    studies = table.column("study").to_pylist()
    if study not in studies:
        raise TrackerError(f"--study={study}: not in {store.path}; allowed: {', '.join(sorted(set(studies)))}")
    return table.take([index for index, each in enumerate(studies) if each == study])


def _pending(table: pa.Table, per: str | None, project: str | None, entity: str | None) -> list[Pending]:
    """Return all W&B runs that the rows make up, in the order in which the rows were stored."""
    needed = ("run_id", "study", "finished_at", "pack_id", "tracker.project", "tracker.entity", "tracker.per")
    rows = table.select([name for name in needed if name in table.column_names]).to_pylist()
    default, url = TrackerConfig(), base_url()
    groups: dict[tuple[Target, str], list[int]] = {}
    for index, row in enumerate(rows):
        target = Target(entity or row.get("tracker.entity") or "",
                        project or row.get("tracker.project") or default.project, url,
                        per or row.get("tracker.per") or default.per)
        alone = row["run_id"]
        member_of = {"run": alone, "pack": row.get("pack_id") or alone, "sweep": row["study"]}[target.per]
        groups.setdefault((target, member_of), []).append(index)
    return [Pending(target, np.array(members), upload([rows[index] for index in members], target))
            for (target, _), members in groups.items()]


def _reader(table: pa.Table, store: Store) -> Callable[[Pending], tuple[list[Row], list[Row]]]:
    """Return a function that reads the rows of a W&B run, and their learning curves."""
    curves = store.newest_curves()
    places = {} if not curves.num_rows else curves.select(["run_id"]).to_pandas().groupby("run_id").indices

    def read(pending: Pending) -> tuple[list[Row], list[Row]]:
        rows = table.take(pending.rows).to_pylist()
        found = [places[row["run_id"]] for row in rows if row["run_id"] in places]
        return rows, curves.take(np.concatenate(found)).to_pylist() if found and pending.target.per != "sweep" else []

    return read


def _announce(pending: Sequence[Pending], known: int) -> None:
    counts: dict[Target, int] = {}
    for each in pending:
        counts[each.target] = counts.get(each.target, 0) + 1
    for target, number in counts.items():
        where = f"{target.entity}/{target.project}" if target.entity else target.project
        print(f"{count(number, 'W&B run')} (per={target.per}) to upload to {where} at {target.base_url}")
    if not pending:
        print(f"nothing to upload: {count(known, 'W&B run')} there already")


def _last_steps(target: Target, ids: list[str]) -> dict[str, int]:
    """Return the last steps of the W&B runs that are on the server already, from a killed sync or another store.

    The client appends all points that it is given to their history, so it must not get the same points again.
    """
    import wandb

    try:
        api = wandb.Api({"base_url": target.base_url})
        path = f"{target.entity or api.default_entity}/{target.project}"
        return {run.id: run.lastHistoryStep for run in api.runs(path, {"name": {"$in": ids}}, per_page=len(ids))}
    except Exception as error:  # the client's errors have no class in common
        if str(error).startswith("Could not find project"):  # W&B makes one when its first run arrives
            return {}
        reason = str(error).splitlines()[0]
        raise TrackerError(f"W&B at {target.base_url} does not say which runs it has ({reason}); the same command goes "
                           "on from here") from error


class Pace:
    """A limit of `rate` requests in any PERIOD."""

    def __init__(self, rate: int | None):
        self.rate = rate
        self.made: deque[tuple[float, int]] = deque()

    def most(self, per: str) -> int:
        """Return how many W&B runs may be uploaded at once."""
        return next(runs for runs in range(BATCH, 0, -1) if runs == 1 or self.rate is None
                    or _cost(per, runs) <= self.rate)

    def wait(self, requests: int) -> None:
        """Wait until so many requests may be made."""
        while self.rate is not None and self.made and sum(count for _, count in self.made) + requests > self.rate:
            until, _ = self.made.popleft()
            time.sleep(max(0.0, until - time.monotonic()))

    def note(self, requests: int) -> None:
        """Remember that so many requests have been made, the last of them now."""
        self.made.append((time.monotonic() + PERIOD, requests))


class _Uploader:
    """The writer and uploader of batches of W&B runs; `uploaded` and `failed` tell how it went so far."""

    def __init__(self, uploads: Uploads, directory: Path, parallel: int, pace: Pace, total: int):
        self.uploads, self.directory, self.parallel, self.pace = uploads, directory, parallel, pace
        self.uploaded = self.in_vain = 0
        self.failed: dict[str, str] = {}
        self.running: _Batch | None = None
        self.bar = Progress(total, total, "W&B run").start()

    def upload(self, pending: Sequence[Pending], read: Callable[[Pending], tuple[list[Row], list[Row]]]) -> None:
        """Upload one batch while the next is written. Raises TrackerError if nothing arrives any more."""
        for number, batch in enumerate(self._batches(pending)):
            written = _Batch(batch, self.directory / str(number))
            if self.pace.rate is not None:
                self._finish()  # only then its number of requests is known
                self.pace.wait(written.requests)
            written.write(read)
            self._finish()
            written.start(self.parallel)
            self.running = written
        self._finish()

    def close(self) -> None:
        """Stop the upload that is running, and remember which of its runs have arrived."""
        if self.running is not None:
            self.running.stop()
            self._collect(self.running)
        self.bar.stop()

    def _batches(self, pending: Sequence[Pending]) -> Iterator[list[Pending]]:
        """Yield W&B runs of one target, cut into batches."""
        for target in dict.fromkeys(each.target for each in pending):
            alike = [each for each in pending if each.target == target]
            size = self.pace.most(target.per)
            yield from (alike[start:start + size] for start in range(0, len(alike), size))

    def _finish(self) -> None:
        if self.running is None:
            return
        while self.running.busy():
            there = self.uploaded + len(self.running.arrived())
            self.bar.show(there, there)
        before, tried = self.uploaded, len(self.running.pending)
        self._collect(self.running)
        self.in_vain = 0 if self.uploaded > before else self.in_vain + tried
        if self.in_vain >= HOPELESS:
            name, reason = next(reversed(self.failed.items()))
            raise TrackerError(f"none of {self.in_vain} W&B runs in a row could be uploaded ({name}: {reason}); "
                               f"{self.uploaded} were before. The same command goes on from here")

    def _collect(self, batch: "_Batch") -> None:
        self.pace.note(batch.requests)
        arrived, failures = batch.arrived(), batch.failures()
        there = {each.mark["id"]: each.mark for each in batch.pending
                 if each.mark["id"] in arrived and each.mark["id"] not in failures}
        if there:
            self.uploads.add(list(there.values()))
        self.uploaded += len(there)
        self.bar.show(self.uploaded, self.uploaded)
        self.failed |= {each.mark["id"]: failures.get(each.mark["id"], failures[""])
                        for each in batch.pending if each.mark["id"] not in there}
        shutil.rmtree(batch.directory, ignore_errors=True)
        self.running = None


class _Batch:
    """W&B runs in files of a directory, and the process that uploads them."""

    def __init__(self, pending: Sequence[Pending], directory: Path):
        self.pending, self.directory = pending, directory
        self.target = pending[0].target
        self.requests = _cost(self.target.per, len(pending))
        self.process: subprocess.Popen[bytes] | None = None

    def write(self, read: Callable[[Pending], tuple[list[Row], list[Row]]]) -> None:
        """Write W&B's offline files, whole, with those points that are not on the server yet."""
        import wandb

        self.directory.mkdir()
        there = _last_steps(self.target, [each.mark["id"] for each in self.pending])
        try:
            for each in self.pending:
                run = tracked(self.target.per, *read(each))
                last = there.get(run.id, -1)
                run = replace(run, points=[point for point in run.points if point["step"] > last])
                report(run, self.target, self.directory, "offline", resume=last >= 0)
        finally:
            wandb.teardown()  # the files are whole only when the service has ended, a moment after run.finish()

    def start(self, parallel: int) -> None:
        """Start `wandb sync`, whatever WANDB_MODE says to jobs, with its own files beside those it uploads."""
        environment = {name: value for name, value in os.environ.items()
                       if name not in ("WANDB_MODE", "WANDB_SERVICE", "WANDB_SILENT")}
        with open(self._log, "wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "wandb", "sync", "-n", str(parallel), str(self.directory / "wandb")],
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                env=environment | {"WANDB_DIR": str(self.directory), "WANDB_BASE_URL": self.target.base_url})

    def busy(self) -> bool:
        """Wait a moment; return whether it still uploads."""
        assert self.process is not None
        try:
            self.process.wait(timeout=0.2)
        except subprocess.TimeoutExpired:
            return True
        return False

    def stop(self) -> None:
        """End the upload."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait()

    def arrived(self) -> set[str]:
        """Return the ids of the runs that are on the server, as the client says."""
        return {file.name.removeprefix("run-").removesuffix(".wandb.synced")
                for file in self.directory.glob("wandb/offline-run-*/*.wandb.synced")}

    def failures(self) -> dict[str, str]:
        """Return the client's errors by the id that they name; "" has one that names none, or its last words.

        If the server refused only the history of a run, the client counts it as synced, with an error that names it.
        """
        said = self._log.read_text()
        found = re.findall(r"^wandb: ERROR (?:\[[^\]]*?([^\]/]+)\] )?(.*)$", said, re.MULTILINE)
        return {"": (said.splitlines() or ["it said nothing"])[-1]} | dict(reversed(found))

    @property
    def _log(self) -> Path:
        return self.directory / "sync.log"


# --- command line ------------------------------------------------------------------------------------


def add_parser(commands: Any) -> None:
    """Add `sync` to the subparsers of `ovpnet launch`; its `run` takes the options."""
    parser: argparse.ArgumentParser = commands.add_parser("sync", help="upload runs of a store to W&B")
    parser.add_argument("--store", type=Path, default=default_store(), metavar="DIR",
                        help="the run store (default: environment variable OVPNET_STORE, else ./store)")
    parser.add_argument("--study", metavar="NAME", help="only the runs of this study")
    parser.add_argument("--per", choices=PER, help="make a W&B run of each of these (default: tracker.per of the runs)")
    parser.add_argument("--project", metavar="NAME", help="W&B project (default: tracker.project of the runs)")
    parser.add_argument("--entity", metavar="NAME", help="W&B entity (default: tracker.entity of the runs, else yours)")
    parser.add_argument("--parallel", type=positive, default=8, metavar="N",
                        help="W&B runs uploaded at a time (default: %(default)s)")
    parser.add_argument("--rate", type=positive, metavar="N",
                        help=f"requests per minute, at most; a W&B run counts as {REQUESTS['run'] + RESUME_REQUESTS}, "
                             f"one with a table as {REQUESTS['pack'] + RESUME_REQUESTS} (default: as fast as the "
                             "server takes them)")
    parser.add_argument("--dry-run", action="store_true", help="say what would be uploaded, and upload nothing")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Run the command. Raises TrackerError, StoreError."""
    try:
        result = sync(options.store, options.study, options.per, options.project, options.entity, options.parallel,
                      options.rate, options.dry_run)
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        sys.exit(130)
    if result.failed:
        name, reason = next(iter(result.failed.items()))
        raise TrackerError(f"{count(len(result.failed), 'W&B run')} could not be uploaded ({name}: {reason}); "
                           f"{result.uploaded} could. The same command tries again")
    if result.uploaded:
        print(f"{count(result.uploaded, 'W&B run')} uploaded; {result.known} there already")


def positive(text: str) -> int:
    """Return the number of an option that counts something, for argparse."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text}: at least 1")
    return number
