"""The sizes of a member's net, from its config alone."""

from dataclasses import dataclass
from functools import cached_property

from ovpnet.spec.config import Config


@dataclass(frozen=True)
class Sizes:
    """The counts of one member's numbers."""

    config: Config

    @cached_property
    def itemsize(self) -> int:
        """The bytes of a number in training."""
        return 4 if self.config.dtype == "float32" else 8

    @cached_property
    def layers(self) -> int:
        """The number of hidden layers."""
        return self.config.learner.hidden_layers

    @cached_property
    def neurons(self) -> tuple[int, ...]:
        """The number of neurons of each hidden layer."""
        return (self.config.width, self.config.second_width)[:self.layers]

    @cached_property
    def squares(self) -> int:
        """The number of entries of V, m^2 if both hidden layers have m neurons; 0 for two layers."""
        return self.neurons[0] * self.neurons[1] if self.layers == 2 else 0

    @cached_property
    def limit(self) -> bool:
        """True if the net is infinitely wide: its activations are entries of a kernel, one per training sample."""
        return self.config.learner.infinite

    @cached_property
    def inputs(self) -> int:
        """The count of numbers in a sample, x and y."""
        return self.config.inputs.d + self.config.concept.k

    @cached_property
    def hidden(self) -> int:
        """The number of weights and biases of the hidden layers."""
        return self.config.width * self.config.inputs.d + self.squares + sum(self.neurons)

    @cached_property
    def trained(self) -> int:
        """The number of trained weights."""
        learner, last = self.config.learner, self.config.concept.k * self.neurons[-1]
        if learner.trained == "last":
            return last
        if learner.trained == "all":
            return self.hidden + last
        return self.hidden - (0 if learner.biases else sum(self.neurons))

    @cached_property
    def frozen(self) -> bool:
        """True if signs are frozen at initialization, whose weights are kept among the net's own."""
        return self.config.learner.frozen

    @cached_property
    def weights(self) -> int:
        """The number of weights, the frozen ones included."""
        return self.hidden * (2 if self.frozen else 1) + self.config.concept.k * self.neurons[-1]

    @cached_property
    def products(self) -> int:
        """The number of multiplications on a sample's way through the net."""
        return self.config.width * self.config.inputs.d + self.squares + self.config.concept.k * self.neurons[-1]

    @cached_property
    def forward_entries(self) -> int:
        """The count of numbers that are alive per evaluated sample and neuron."""
        if self.limit:
            return 6
        return (4 if self.frozen else 2) if self.layers == 2 else (3 if self.frozen else 1)


def hidden_products(config: Config) -> int:
    """Return how many multiplications a sample takes on its way to the last hidden layer, biases left out."""
    return config.width * (config.inputs.d + (config.second_width if config.learner.hidden_layers == 2 else 0))
