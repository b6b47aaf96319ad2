"""A sweep on a shared cluster, as a discrete-event simulation: what `benchmarks.queue` asks its questions of.

The cluster is a number of slots (what one job gets: a GPU, or some cores) with one queue, first come first served.
Other users' jobs arrive as a Poisson process; the jobs of the sweep are submitted at once and queue among them. A job
does what `launch.job` and `launch.worker` do: it starts, claims packs one by one, trains them, keeps checkpoints, and
is requeued when its time is over, when it is preempted and when its node fails, after it has returned the pack it was
in if it was asked to stop; where its worker crashes, the job starts another one in the same slot. Times are in seconds
where nothing else is said.
"""

import math
from bisect import insort
from collections import deque
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, fields
from random import Random
from typing import Literal

import simpy

from launch.launchers.slurm import Slurm
from launch.packs import Pack
from ovpnet.spec.config import Config

HOUR = 3600.0
CHECKPOINT_MINUTES: float = next(item.default for item in fields(Config) if item.name == "checkpoint_minutes")
# What others run before the sweep is submitted, so that the queue is as it usually is.
_WARM_UP = 12 * HOUR
# Seconds of a checkpoint whatever its size, and bytes a second of the file system it goes to.
_SAVE_SECONDS, _SAVE_RATE = 0.2, 2e8


@dataclass(frozen=True)
class Cluster:
    """The machine and its other users."""

    slots: int = 64
    load: float = 0.5  # part of the slots that others' jobs take in the long run
    others_median: float = 0.5 * HOUR  # of the durations of others' jobs, which are lognormal
    others_spread: float = 1.5  # standard deviation of their logarithm
    start: float = 30.0  # until a worker trains: Python, torch, the sweep's record
    looking: float = 0.4  # part of the start after which a worker claims a pack, or ends where none is left
    requeue: float = 120.0  # until a requeued job may start again
    preemptions: float = 0.0  # an hour that a job runs
    noticed: float = 0.5  # part of the preemptions before which there is time to keep a checkpoint and return the pack
    node_failures: float = 1e-3  # an hour that a job runs
    repair: float = 1 * HOUR  # mean, of a node
    crashes: float = 2e-3  # an hour that a worker runs
    prediction_spread: float = 0.25  # standard deviation of log(time of a pack / predicted)
    node_spread: float = 0.1  # and of log(time on the node that a job got / on the usual one)


@dataclass
class Work:
    """A pack to be trained."""

    seconds: float  # predicted
    saving: float = 0.0  # seconds of a checkpoint
    error: float = 1.0  # seconds on the usual node / predicted
    kept: float = 0.0  # of the seconds on the usual node: trained, and in a checkpoint
    finished: int = 0  # how often; once, if all is well


def work(pack: Pack) -> Work:
    """What a pack is predicted to come to."""
    sizes = pack.shape.sizes
    # Trained weights and their velocity.
    return Work(pack.seconds, _SAVE_SECONDS + 2 * sizes.itemsize * sizes.trained * pack.shape.members / _SAVE_RATE)


@dataclass
class Outcome:
    """What became of a sweep. Slot-seconds of its jobs: `trained`, and wasted, which is the sum of the other three."""

    makespan: float = 0.0  # from the submission to the last pack's end
    waited: float = 0.0  # until the first job started
    starts: int = 0  # of workers
    trained: float = 0.0
    starting: float = 0.0
    lost: float = 0.0  # trained, and to be trained again
    saving: float = 0.0
    occupied: float = 0.0

    @property
    def wasted(self) -> float:
        """Slot-seconds that trained nothing that lasts."""
        return self.starting + self.lost + self.saving


Sharing = Literal["assigned", "claims", "queue"]


class Shares:
    """Which job trains which pack.

    `assigned`: those it was given. `claims`, as `launch.worker` does: first the longest that was returned, then those
    it was given, then the longest of the job that has most left; a job that is interrupted with notice returns the pack
    it was in, and without keeps it and goes on with it when it starts again. `queue`: every job takes the longest that
    is left, and before those the interrupted ones, of which there is notice or not.
    """

    def __init__(self, jobs: Sequence[Sequence[Work]], sharing: Sharing):
        self.sharing = sharing
        self.unclaimed = [deque(packs) for packs in jobs]
        if sharing == "queue":
            longest_first = sorted((pack for packs in jobs for pack in packs), key=lambda pack: -pack.seconds)
            self.unclaimed = [deque(longest_first)] * len(jobs)
        self.seconds = [sum(pack.seconds for pack in packs) for packs in jobs]  # unclaimed
        self.begun: dict[int, Work] = {}
        self.returned: list[Work] = []  # the longest comes last

    def take(self, job: int) -> Work | None:
        """The pack that the job trains next."""
        if job in self.begun:
            return self.begun.pop(job)
        if self.returned:
            return self.returned.pop()
        if self.sharing == "claims" and not self.unclaimed[job]:
            most = max(self.seconds)
            return self._from(self.seconds.index(most)) if most else None
        return self._from(job) if self.unclaimed[job] else None

    def _from(self, job: int) -> Work:
        pack = self.unclaimed[job].popleft()
        self.seconds[job] = self.seconds[job] - pack.seconds if self.unclaimed[job] else 0.0
        return pack

    def interrupt(self, job: int, pack: Work, noticed: bool) -> None:
        """The job was interrupted in the middle of the pack."""
        if self.sharing == "queue" or (self.sharing == "claims" and noticed):
            insort(self.returned, pack, key=lambda each: each.seconds)
        else:
            self.begun[job] = pack


@dataclass
class Simulation:
    """One sweep, to its end; `jobs` are the packs of each job, as submitted."""

    jobs: Sequence[Sequence[Work]]
    cluster: Cluster
    seed: int
    options: Slurm = field(default_factory=Slurm)
    checkpoint_minutes: float = CHECKPOINT_MINUTES
    sharing: Sharing = "claims"

    def __post_init__(self) -> None:
        self.shares = Shares(self.jobs, self.sharing)
        self.env = simpy.Environment()
        self.slots = simpy.Resource(self.env, self.cluster.slots)
        # Streams of their own: the others do the same whatever the sweep is cut into.
        self.others, self.ours = Random(f"{self.seed} others"), Random(f"{self.seed} ours")
        self.outcome, self.submitted = Outcome(), 0.0

    def run(self) -> Outcome:
        """Until the sweep's last job has ended."""
        self.env.process(self._other_users())
        self.env.run(until=_WARM_UP if self.cluster.load else None)
        self.submitted = self.env.now
        self.env.run(until=self.env.all_of([self.env.process(self._job(job)) for job in range(len(self.jobs))]))
        return self.outcome

    # --- other users ---

    def _other_users(self) -> Generator[simpy.Event, None, None]:
        cluster = self.cluster
        if not cluster.load:
            return
        log_median, spread = math.log(cluster.others_median), cluster.others_spread
        for _ in range(cluster.slots):
            if self.others.random() < cluster.load:
                # A job met at some moment is a long one (of a density that is weighted by its length), part of it over.
                long = self.others.lognormvariate(log_median + spread**2, spread)
                self.env.process(self._other(long * self.others.random()))
        mean = cluster.others_median * math.exp(spread**2 / 2)
        while True:
            self.env.process(self._other(self.others.lognormvariate(log_median, spread)))
            yield self.env.timeout(self.others.expovariate(cluster.load * cluster.slots / mean))

    def _other(self, seconds: float) -> Generator[simpy.Event, None, None]:
        with self.slots.request() as slot:
            yield slot
            yield self.env.timeout(seconds)

    def _taken(self, slot: simpy.resources.resource.Request, seconds: float) -> Generator[simpy.Event, None, None]:
        """A slot that another one has for a while: who preempted the job, or who repairs the node."""
        yield self.env.timeout(seconds)
        self.slots.release(slot)

    # --- the sweep ---

    def _job(self, job: int) -> Generator[simpy.Event, None, None]:
        """A job of the array, through all its requeues, until it has found no pack that is left."""
        done = False
        while not done:
            slot = self.slots.request()
            yield slot
            if not self.outcome.starts:
                self.outcome.waited = self.env.now - self.submitted
            began = self.env.now
            done, taken_for = yield from self._in_slot(job)
            self.outcome.occupied += self.env.now - began
            self.env.process(self._taken(slot, taken_for))
            if not done:
                yield self.env.timeout(self.cluster.requeue)

    def _in_slot(self, job: int) -> Generator[simpy.Event, None, tuple[bool, float]]:
        """From the start of a job until it is requeued or done; which, and how long the slot is then another's."""
        cluster, options, now = self.cluster, self.options, self.env.now
        slowness = self.ours.lognormvariate(0.0, cluster.node_spread)
        over = now + 60 * options.timeout_min - options.signal_delay_s
        preempted, failed = now + self._after(cluster.preemptions), now + self._after(cluster.node_failures)
        end, noticed = min(over, preempted, failed), over < min(preempted, failed)
        if end == preempted:
            noticed = self.ours.random() < cluster.noticed
        done = False
        while not done and self.env.now < end:
            crash = self.env.now + self._after(cluster.crashes)
            done = yield from self._worker(job, slowness, min(end, crash), noticed and end < crash)
        if done or end == over:
            return done, 0.0
        return done, self.ours.expovariate(1 / cluster.repair) if end == failed else self.ours.lognormvariate(
            math.log(cluster.others_median), cluster.others_spread)

    def _after(self, an_hour: float) -> float:
        return self.ours.expovariate(an_hour / HOUR) if an_hour else math.inf

    def _starting(self, seconds: float, end: float) -> Generator[simpy.Event, None, None]:
        seconds = min(seconds, end - self.env.now)
        self.outcome.starting += seconds
        yield self.env.timeout(seconds)

    def _worker(self, job: int, slowness: float, end: float, noticed: bool) -> Generator[simpy.Event, None, bool]:
        """Train packs until none is left, or until the time at which the worker ends, noticed or not; which of them."""
        outcome, env, cluster = self.outcome, self.env, self.cluster
        outcome.starts += 1
        yield from self._starting(cluster.looking * cluster.start, end)
        if env.now >= end:
            return False
        pack = self.shares.take(job)
        if pack is not None:
            yield from self._starting((1 - cluster.looking) * cluster.start, end)
        every = 60 * self.checkpoint_minutes
        while pack is not None:
            if env.now >= end:
                self.shares.interrupt(job, pack, noticed)
                return False
            left = (pack.seconds * pack.error - pack.kept) * slowness
            saves = max(0, math.ceil(left / every) - 1)
            if env.now + left + saves * pack.saving <= end:
                yield env.timeout(left + saves * pack.saving)
                outcome.trained += left
                outcome.saving += saves * pack.saving
                pack.finished += 1
                outcome.makespan = env.now - self.submitted
                pack = self.shares.take(job)
                continue
            ran = end - env.now
            saves = int(ran / (every + pack.saving))
            since = min(every, ran - saves * (every + pack.saving))
            kept = saves * every + (since if noticed else 0.0)
            outcome.trained += kept
            outcome.lost += 0.0 if noticed else since
            outcome.saving += ran - saves * every - since
            pack.kept += kept / slowness
            yield env.timeout(ran)
            if noticed:
                outcome.saving += pack.saving
                yield env.timeout(pack.saving)
            self.shares.interrupt(job, pack, noticed)
            return False
        return True


def simulate(jobs: Sequence[Sequence[Work]], cluster: Cluster, seed: int, options: Slurm | None = None,
             checkpoint_minutes: float = CHECKPOINT_MINUTES, sharing: Sharing = "claims") -> Outcome:
    """A sweep whose packs take what this seed says, by the spread of predictions. The packs given are not changed.

    A pack's time is drawn in the order of predicted times, so that it does not depend on how packs are shared out.
    """
    errors = Random(f"{seed} predictions")
    drawn = [[Work(pack.seconds, pack.saving) for pack in packs] for packs in jobs]
    for pack in sorted((pack for packs in drawn for pack in packs), key=lambda pack: -pack.seconds):
        pack.error = errors.lognormvariate(0.0, cluster.prediction_spread)
    return Simulation(drawn, cluster, seed, options or Slurm(), checkpoint_minutes, sharing).run()
