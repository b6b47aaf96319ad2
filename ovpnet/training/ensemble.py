"""Train an ensemble: runs of one static signature, side by side, each from its own streams to its own result."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from ovpnet.engine.base import Shape
from ovpnet.engine.steps import Chunk, State, Stepper, scaled
from ovpnet.nets.base import Weights
from ovpnet.record.checkpoint import Arrays
from ovpnet.training import kernel_ridge
from ovpnet.training.allocator import keep_freed_memory
from ovpnet.training.diagnostics.measured import diagnostics
from ovpnet.training.evaluator import Evaluator
from ovpnet.training.feed import Feed
from ovpnet.training.members import Members
from ovpnet.training.outcome import Goal, Outcome, Point
from ovpnet.training.perturbation import StepDraws
from ovpnet.training.schedule import chunks, evaluation_steps


@dataclass
class Trace:
    """The measurements in the steps taken so far."""

    step: int = 0
    points: list[Point] = field(default_factory=list)
    train: list[Tensor] = field(default_factory=list)  # [E, S] each, minibatch losses since the last point
    iterates: list[Tensor] = field(default_factory=list)  # [E, S] each, risks of the iterates, if the average is judged


class Ensemble:
    """Members [E] in training on one device. Raises ValueError if their signatures differ."""

    def __init__(self, shape: Shape, goals: Sequence[Goal], stepper: Stepper, device: torch.device):
        keep_freed_memory()
        self.members, self.goals, self.stepper = Members(shape, device), list(goals), stepper
        self.rule, self.state = self.members.rule(), self.members.initial_state()
        self.trace = Trace()
        # The training's state, which a checkpoint can hold; None while an engine is changing it.
        self.whole: State | None = self.state
        configs, x, y = self.members.configs, self.members.x, self.members.y
        self.perturbed = (StepDraws(configs, self.state, self.members.put)
                          if shape.shared.algorithm.perturbed else None)
        self.feed = Feed(self.members, self.perturbed)
        self.evaluator = Evaluator(self.members, self.goals, stepper.measured(self.members.net),
                                   diagnostics(configs, self.rule, self.state, x, y))

    def train(self, on_steps: Callable[[int], None] = lambda steps: None,
              on_chunk: Callable[[], None] = lambda: None) -> Outcome:
        """Take the steps that are left, and measure.

        `on_steps` hears of the steps taken, those of all members added up (of those before a `restore` at once).
        `on_chunk` is called between chunks, where `checkpoint` holds all of the training so far.
        """
        shape, trace = self.members.shape, self.trace
        if not shape.shared.algorithm.iterative:
            return self._solve(on_steps)
        evaluated = set(evaluation_steps(shape.steps, shape.shared.evaluations))
        on_steps(trace.step * shape.members)
        for block, (start, stop) in enumerate(chunks(shape.steps, shape.shared.evaluations)):
            if trace.points and stop <= trace.points[-1].step:
                continue
            if stop > trace.step:
                self._advance(self.feed.chunk(block, start, stop), stop)
                on_steps((stop - start) * shape.members)
            if stop in evaluated:
                trace.points.append(self._point(stop))
                trace.train.clear()
            on_chunk()
        extras = {}
        if self.perturbed is not None:
            self.state = replace(self.state)  # what is chosen in the end is no state of the training
            extras = self.perturbed.finish(self.state, self.evaluator.empirical_risk)
        iterates = torch.cat(trace.iterates, 1) if trace.iterates else None
        return self.evaluator.outcome(trace.points, self.state.weights, iterates, extras)

    def checkpoint(self) -> Arrays:
        """Return all that training has changed, for `restore`.

        Training then goes on as if it had not stopped, bit for bit on the same device and engine. Everything but the
        steps is [E, ...] (`ovpnet.record.checkpoint`). On a CPU the arrays are the live ones: save them before training
        goes on. What comes from the configs and the streams (data, frozen weights, initialization) is not among them.

        Raises ValueError while an engine is taking steps.
        """
        if self.whole is None:
            raise ValueError("a chunk of steps is not finished")
        state, trace = self.whole, self.trace
        tensors = {f"weights.{name}": state.weights[name] for name in self.members.net.trained}
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
            return {name: self.members.put(value) for name, value in under(prefix).items()}

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
        taken = self.stepper.advance(self.rule, self.state, chunk)
        self.trace.step = stop
        self.trace.train.append(taken.train)
        if self.members.shared.algorithm.judged == "average":
            self.trace.iterates.append((taken.train if taken.monitor is None else taken.monitor).cpu())
        self.whole = self.state

    def _point(self, stop: int) -> Point:
        """Measure after `stop` steps: in Algorithms 2 and 3 the net lambda f, with the lambda of the last step."""
        scale = None if self.perturbed is None else self.perturbed.scale(stop - 1, stop)[:, 0]
        weights = self.state.weights if scale is None else scaled(self.state.weights, scale)
        return self.evaluator.point(stop, torch.cat(self.trace.train, 1).mean(1), weights, self.state, scale)

    def _solve(self, on_steps: Callable[[int], None]) -> Outcome:
        """Put the exact optimum in place of steps; the learning curve is one point."""
        members = self.members
        kernel_ridge.fit(members.net, self.state, members.x, members.y, members.configs)
        outcome = self.evaluator.outcome([], self.state.weights)
        point = self.evaluator.point(1, outcome.train, self.state.weights, self.state)
        on_steps(len(members.configs))
        return replace(outcome, points=[point])
