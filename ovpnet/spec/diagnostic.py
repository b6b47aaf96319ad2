"""The diagnostics: what can be measured along training besides risks, and the facts that each one states."""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from ovpnet.spec.registry import Registry

if TYPE_CHECKING:
    from ovpnet.engine.steps import State
    from ovpnet.spec.choices import Learner
    from ovpnet.spec.config import Config
    from ovpnet.training.diagnostics.measured import Measure, Measured

D = TypeVar("D", bound="Diagnostic")


class Diagnostic:
    """Something that is measured at every point of a learning curve, if its switch `diagnostics.NAME` is on."""

    name: ClassVar[str]
    # The columns of a learning curve that it can add, each with its meaning. A run has their last values.
    columns: ClassVar[Mapping[str, str]]
    # What it adds to a run alone.
    run_columns: ClassVar[Mapping[str, str]]
    # It is of the movement of hidden weights, so that they must be trained.
    of_hidden_weights: ClassVar[bool]

    @abstractmethod
    def measure(self, ensemble: "Measured", start: "State") -> "Measure":
        """Return what measures the columns of an ensemble, whose state at initialization is `start`."""

    def of_run(self, config: "Config", curve: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
        """Return the run's own columns, from the rows of its learning curve."""
        return {}

    def lacks(self, learner: "Learner") -> str | None:
        """Return why there is nothing to measure of a learner; None if there is something."""
        if learner.infinite:
            return f"learner={learner.name} has no weights to measure"
        if self.of_hidden_weights and not set(learner.matrices) & set(learner.trained_layers):
            return f"learner.trained={learner.trained} moves no hidden weight"
        return None


DIAGNOSTICS: Registry[Diagnostic] = Registry("diagnostic", Diagnostic, "ovpnet.training.diagnostics.choices")


def diagnostic(name: str) -> Callable[[type[D]], type[D]]:
    """Register a diagnostic, which the key `diagnostics.NAME` switches on."""
    def registered(cls: type[D]) -> type[D]:
        cls.name = name
        return DIAGNOSTICS.register(name)(cls)

    return registered
