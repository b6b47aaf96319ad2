"""Train an ensemble: runs of one static signature, side by side, each from its own streams to its own result."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from ovpnet.engine import Chunk, Engine, Rule, State, scaled
from ovpnet.nets.base import Weights, initial
from ovpnet.nets.regularization import Penalties, coefficients, penalties
from ovpnet.problem.data import Problem
from ovpnet.problem.opt import Opt
from ovpnet.problem.streams import Stream, generator
from ovpnet.record.checkpoint import Arrays
from ovpnet.spec.config import Config
from ovpnet.spec.identity import signature
from ovpnet.training import kernel_ridge
from ovpnet.training.allocator import keep_freed_memory
from ovpnet.training.diagnostics.measured import diagnostics
from ovpnet.training.perturbation import StepDraws
from ovpnet.training.risk import Mean, losses, means
from ovpnet.training.schedule import CHUNK_STEPS, chunks, evaluation_steps, learning_rates, minibatches


@dataclass(frozen=True)
class Goal:
    """What a run is judged against."""

    opt: Opt
    epsilon: float  # in units of the loss

    @property
    def threshold(self) -> float:
        """OPT + epsilon."""
        return self.opt.opt + self.epsilon


def goal(config: Config, opt: Opt) -> Goal:
    """OPT + epsilon of a run; a relative epsilon is in units of E ||y||^2."""
    unit = opt.second_moment if config.epsilon_unit == "relative" else 1.0
    return Goal(opt, config.epsilon * unit)


@dataclass(frozen=True)
class Point:
    """A point of the learning curves."""

    step: int
    train: Tensor  # [E], mean minibatch loss since the point before
    test: Tensor  # [E, n], losses of the current iterate on fresh samples
    diagnostics: dict[str, Tensor] = field(default_factory=dict)  # [E], columns of what is measured besides


@dataclass
class Trace:
    """What was measured in the steps taken so far."""

    step: int = 0
    points: list[Point] = field(default_factory=list)
    train: list[Tensor] = field(default_factory=list)  # [E, S] each, minibatch losses since the last point
    iterates: list[Tensor] = field(default_factory=list)  # [E, S] each, risks of the iterates, if the average is judged


@dataclass(frozen=True)
class Outcome:
    """Everything measured of an ensemble."""

    points: list[Point]
    train: Tensor  # [E], empirical risk of the last iterate on the training set
    test: list[Mean]  # [E], population risk of the last iterate
    validation: list[Mean]  # [E], the same on samples of its own, for choices such as the best lr
    iterates: Tensor | None  # [E, T], risks of W_0 ... W_{T-1} on fresh samples, if the average is judged
    diverged: Tensor  # [E] bool: a weight is no longer a finite number
    extras: dict[str, Tensor] = field(default_factory=dict)  # [E], further columns of the algorithm's own


class Ensemble:
    """Members [E] with their samples, weights and numbers on one device. Raises ValueError if signatures differ."""

    def __init__(self, configs: Sequence[Config], goals: Sequence[Goal], engine: Engine, device: torch.device):
        if len({signature(config) for config in configs}) != 1:
            raise ValueError("the members of an ensemble must share one static signature")
        keep_freed_memory()
        self.configs, self.goals, self.engine, self.device = list(configs), list(goals), engine, device
        self.shared = configs[0]  # read only for what is in the signature
        self.dtype = getattr(torch, self.shared.dtype)
        self.monitored = self.shared.algorithm.judged == "average"
        self.learner, self.loss = self.shared.learner.net(), self.shared.loss
        self.net = engine.measured(self.learner)
        self.rule = Rule(self.learner, self.loss, self._penalties(),
                         self._numbers([config.algorithm.momentum for config in configs]))
        problems: dict[str, Problem] = {}
        self.problems = [problems.setdefault(Problem.key(config), Problem(config)) for config in configs]
        self.state = self._initial_state()
        self.trace = Trace()
        self._table: tuple[int, Tensor] | None = None  # a step, and the minibatches of the steps from there on
        # The training's state, which a checkpoint can hold; None while an engine is changing it.
        self.whole: State | None = self.state
        self.x, self.y = self._samples(range(len(configs)), Stream.DATA, [config.samples for config in configs])
        self.perturbed = StepDraws(configs, self.state, self._put) if self.shared.algorithm.perturbed else None
        self.diagnostics = diagnostics(configs, self.rule, self.state, self.x, self.y)

    def train(self, on_steps: Callable[[int], None] = lambda steps: None,
              on_chunk: Callable[[], None] = lambda: None) -> Outcome:
        """Take the steps that are left, and measure.

        `on_steps` hears of the steps taken, those of all members added up (of those before a `restore` at once).
        `on_chunk` is called between chunks, where `checkpoint` holds all of the training so far.
        """
        if not self.shared.algorithm.iterative:
            return self._solve(on_steps)
        steps, members, trace = self.shared.total_steps, range(len(self.configs)), self.trace
        evaluated = set(evaluation_steps(steps, self.shared.evaluations))
        curve_samples = self._samples(members, Stream.TEST, [self.shared.test.curve_samples] * len(members))
        on_steps(trace.step * len(members))
        for block, (start, stop) in enumerate(chunks(steps, self.shared.evaluations)):
            if trace.points and stop <= trace.points[-1].step:
                continue
            if stop > trace.step:
                self._advance(self._chunk(block, start, stop), stop)
                on_steps((stop - start) * len(members))
            if stop in evaluated:
                test = losses(self.net, self.loss, self._weights(stop), *curve_samples)
                trace.points.append(
                    Point(stop, torch.cat(trace.train, 1).mean(1).cpu(), test.cpu(), self._diagnose(stop)))
                trace.train.clear()
            on_chunk()
        extras = {}
        if self.perturbed is not None:
            self.state = replace(self.state)  # what is chosen in the end is no state of the training
            extras = self.perturbed.finish(self.state, self._empirical_risk)
        return Outcome(trace.points, self._empirical_risk(self.state.weights), self._population_risk(Stream.TEST),
                       self._population_risk(Stream.VALIDATION),
                       torch.cat(trace.iterates, 1) if trace.iterates else None, self._diverged(), extras)

    def checkpoint(self) -> Arrays:
        """All that training has changed: with `restore`, training goes on as if it had not stopped, bit for bit on the
        same device and engine.

        Everything but the steps is [E, ...] (`ovpnet.record.checkpoint`). On a CPU the arrays are the live ones: save
        them before training goes on. What comes from the configs and the streams (data, frozen weights, initialization)
        is not among them. Raises ValueError while an engine is taking steps.
        """
        if self.whole is None:
            raise ValueError("a chunk of steps is not finished")
        state, trace = self.whole, self.trace
        tensors = {f"weights.{name}": state.weights[name] for name in self.learner.trained}
        tensors |= {f"velocity.{name}": value for name, value in state.velocity.items()}
        tensors |= {f"kept.{name}": value for name, value in state.kept.items()}
        since = {"train": trace.train, "iterates": trace.iterates}
        tensors |= {name: torch.cat(values, 1) for name, values in since.items() if values}
        for number, point in enumerate(trace.points):
            columns = {"train": point.train, "test": point.test} | {
                f"diagnostics.{name}": value for name, value in point.diagnostics.items()}
            tensors |= {f"points.{number}.{name}": value for name, value in columns.items()}
        return {"step": np.array(trace.step), "points": np.array([point.step for point in trace.points], int),
                **{name: value.cpu().contiguous().numpy() for name, value in tensors.items()}}

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Go on from what `checkpoint` of an ensemble of the same configs gave."""
        def under(prefix: str) -> dict[str, Tensor]:
            # Cloned into torch's own memory: how it is aligned can decide the order of a library's sums.
            return {name.removeprefix(prefix): torch.from_numpy(value).clone()
                    for name, value in arrays.items() if name.startswith(prefix)}

        def on_device(prefix: str) -> Weights:
            return {name: self._put(value) for name, value in under(prefix).items()}

        points = []
        for number, step in enumerate(arrays["points"]):
            columns = under(f"points.{number}.")
            points.append(Point(int(step), columns.pop("train"), columns.pop("test"),
                                {name.removeprefix("diagnostics."): value for name, value in columns.items()}))
        self.trace = Trace(int(arrays["step"]), points, list(on_device("train").values()),
                           list(under("iterates").values()))
        self.state = self.whole = State(self.state.weights | on_device("weights."), on_device("velocity."),
                                        self.state.initial, on_device("kept."))

    def _advance(self, chunk: Chunk, stop: int) -> None:
        """Take the chunk's steps, up to step `stop`."""
        self.whole = None
        taken = self.engine.advance(self.rule, self.state, chunk)
        self.trace.step = stop
        self.trace.train.append(taken.train)
        if self.monitored:
            # In one pass every minibatch is fresh when it comes, so it measures the population risk itself.
            self.trace.iterates.append((taken.train if taken.monitor is None else taken.monitor).cpu())
        self.whole = self.state

    def _weights(self, stop: int) -> Weights:
        """The weights of the net that is measured after `stop` steps: in Algorithms 2 and 3, of lambda times f."""
        scale = self._scale(stop)
        return self.state.weights if scale is None else scaled(self.state.weights, scale)

    def _scale(self, stop: int) -> Tensor | None:
        """lambda [E] of the last of `stop` steps; None where there is none."""
        return None if self.perturbed is None else self.perturbed.scale(stop - 1, stop)[:, 0]

    def _diagnose(self, stop: int) -> dict[str, Tensor]:
        return {} if self.diagnostics is None else self.diagnostics.measure(stop, self.state, self._scale(stop))

    def _solve(self, on_steps: Callable[[int], None]) -> Outcome:
        """The exact optimum in place of steps; the learning curve is one point."""
        kernel_ridge.fit(self.learner, self.state, self.x, self.y, self.configs)
        train = self._empirical_risk(self.state.weights)
        members = range(len(self.configs))
        curve_samples = self._samples(members, Stream.TEST, [self.shared.test.curve_samples] * len(members))
        test = losses(self.net, self.loss, self.state.weights, *curve_samples)
        on_steps(len(members))
        return Outcome([Point(1, train, test.cpu(), self._diagnose(1))], train, self._population_risk(Stream.TEST),
                       self._population_risk(Stream.VALIDATION), None, self._diverged())

    def _penalties(self) -> Penalties:
        each = [coefficients(config) for config in self.configs]
        return penalties(self.shared.regularizer, self.learner.trained,
                         {layer: self._numbers([member[layer] for member in each]) for layer in each[0]})

    def _numbers(self, values: Sequence[float]) -> Tensor:
        """A number a member, [E]."""
        return self._put(torch.tensor(values, dtype=torch.float64))

    def _put(self, value: Tensor) -> Tensor:
        return value.to(self.device, self.dtype if value.is_floating_point() else None)

    def _initial_state(self) -> State:
        k, d = self.shared.concept.k, self.shared.inputs.d
        weights: Weights = {}
        for e, config in enumerate(self.configs):
            member = self.learner.init(generator(config.seed, Stream.INIT), config.width, d, k,
                                       config.learner.output_std(config), config.second_width)
            if not weights:
                weights = {name: self._empty(*value.shape) for name, value in member.items()}
            for name, value in member.items():
                weights[name][e] = value
        velocity = {name: torch.zeros_like(weights[name]) for name in self.learner.trained}
        # Learners whose signs are frozen keep W and V at initialization among their weights.
        start = {name: weights[initial(name)] if initial(name) in weights else weights[name].clone()
                 for name in self.learner.trained}
        return State(weights, velocity, start)

    def _empty(self, *shape: int) -> Tensor:
        """[E, *shape], not set."""
        return torch.empty(len(self.configs), *shape, dtype=self.dtype, device=self.device)

    def _samples(self, members: Sequence[int], stream: Stream, sizes: Sequence[int],
                 block: int = 0) -> tuple[Tensor, Tensor]:
        """Samples of some members, x [E, N, d] and y [E, N, k], padded with zeros to the largest N."""
        # Put together on the host: to a GPU one large copy takes less than one a member.
        x, y = (torch.zeros(len(members), max(sizes), width, dtype=self.dtype)
                for width in (self.shared.inputs.d, self.shared.concept.k))
        for place, (e, size) in enumerate(zip(members, sizes, strict=True)):
            x[place, :size], y[place, :size] = self.problems[e].sample(self.configs[e].seed, stream, size, block)
        return self._put(x), self._put(y)

    def _chunk(self, block: int, start: int, stop: int) -> Chunk:
        index = self._minibatches(start, stop)
        lr = np.stack([learning_rates(config, start, stop) for config in self.configs])
        fresh: tuple[Tensor | None, Tensor | None] = (None, None)
        if self.monitored and self.shared.algorithm.sampling != "one_pass":
            members, shape = range(len(self.configs)), index.shape
            x, y = self._samples(members, Stream.MONITOR, [shape[1] * shape[2]] * len(members), block)
            fresh = x.view(*shape, -1), y.view(*shape, -1)
        chunk = Chunk(self.x, self.y, index, self._put(torch.from_numpy(lr)), *fresh)
        if (perturbed := self.perturbed) is not None:
            chunk = replace(chunk, scale=perturbed.scale(start, stop),
                            perturbation=lambda step: perturbed.draw(start + step))
        return chunk

    def _minibatches(self, start: int, stop: int) -> Tensor:
        """Of the steps of a chunk: a part of the table of CHUNK_STEPS steps that it lies in. Where evaluations are many
        and chunks short, a GPU would wait for the many small launches that make a table."""
        first = start // CHUNK_STEPS * CHUNK_STEPS
        if self._table is None or self._table[0] != first:
            self._table = None  # two of them would take twice the memory
            last = min(first + CHUNK_STEPS, self.shared.total_steps)
            self._table = first, minibatches(self.configs, first, last, self.device)
        return self._table[1][:, start - first:stop - first]

    def _empirical_risk(self, weights: Weights) -> Tensor:
        """Mean loss [E] of weights on the members' own training sets."""
        values = losses(self.net, self.loss, weights, self.x, self.y).cpu()
        return torch.stack([each[:config.samples].mean() for each, config in zip(values, self.configs, strict=True)])

    def _population_risk(self, stream: Stream) -> list[Mean]:
        """Risk of the last iterate of every member, from fresh samples until each is known precisely enough.

        A member's estimate takes as many samples as it needs itself, whatever the others need.
        """
        risks = [Mean() for _ in self.configs]
        active, block = list(range(len(self.configs))), 0
        while active:
            block += 1  # block 0 of the test stream is the learning curve's
            x, y = self._samples(active, stream, [self.shared.test.samples] * len(active), block)
            members = torch.tensor(active, device=self.device)
            weights = {name: value[members] for name, value in self.state.weights.items()}
            for e, found in zip(active, means(losses(self.net, self.loss, weights, x, y)), strict=True):
                risks[e].add(found)
            active = [e for e in active if not self._precise(risks[e], self.goals[e])]
        return risks

    def _precise(self, risk: Mean, goal: Goal) -> bool:
        test = self.shared.test
        enough = risk.se <= test.se * max(goal.epsilon, risk.mean - goal.opt.opt)
        return enough or not np.isfinite(risk.mean) or risk.n + test.samples > test.max_samples

    def _diverged(self) -> Tensor:
        finite = [self.state.weights[name].isfinite().flatten(1).all(1) for name in self.learner.trained]
        return ~torch.stack(finite).all(0).cpu()
