"""What engines and costs ask of a config: the sizes of a member's net, and how it is trained."""

from dataclasses import dataclass
from functools import cached_property

from ovpnet.spec.config import LIMITS, Config, PerturbedAlgorithm


@dataclass(frozen=True)
class Sizes:
    """Counts the numbers of one member."""

    config: Config

    @cached_property
    def itemsize(self) -> int:
        """Bytes of a number in training."""
        return 4 if self.config.dtype == "float32" else 8

    @cached_property
    def hidden_layers(self) -> int:
        """Hidden layers."""
        return hidden_layers(self.config)

    @cached_property
    def limit(self) -> bool:
        """Whether the net is infinitely wide: its activations are entries of a kernel, one per training sample."""
        return self.config.learner.name in LIMITS

    @cached_property
    def inputs(self) -> int:
        """Numbers of a sample, x and y."""
        return self.config.inputs.d + self.config.concept.k

    @cached_property
    def hidden(self) -> int:
        """Weights and biases of the hidden layers."""
        m, d = self.config.width, self.config.inputs.d
        return m * (d + 1) + (m * (m + 1) if self.hidden_layers == 2 else 0)

    @cached_property
    def trained(self) -> int:
        """Trained weights."""
        learner, m = self.config.learner, self.config.width
        last = self.config.concept.k * m
        if learner.trained == "last":
            return last
        if learner.trained == "all":
            return self.hidden + last
        return self.hidden - (0 if learner.biases else self.hidden_layers * m)

    @cached_property
    def frozen(self) -> bool:
        """Whether signs are frozen at initialization, whose weights are kept among the net's own."""
        return self.config.learner.trained in ("ntk", "quadratic")

    @cached_property
    def weights(self) -> int:
        """Weights, the frozen ones included."""
        return self.hidden * (2 if self.frozen else 1) + self.config.concept.k * self.config.width

    @cached_property
    def products(self) -> int:
        """Multiplications of a sample's way through the net."""
        m, d = self.config.width, self.config.inputs.d
        return m * (d + self.config.concept.k) + (m * m if self.hidden_layers == 2 else 0)

    @cached_property
    def forward_entries(self) -> int:
        """Numbers that are alive per evaluated sample and neuron."""
        if self.limit:
            return 6
        return (4 if self.frozen else 2) if self.hidden_layers == 2 else (3 if self.frozen else 1)


def hidden_layers(config: Config) -> int:
    """Return how many hidden layers the net has: 1 or 2."""
    return 2 if config.learner.name.startswith("three_layer") else 1


def hidden_products(config: Config) -> int:
    """Return how many multiplications a sample takes on its way to the last hidden layer, biases left out."""
    return config.width * (config.inputs.d + (config.width if hidden_layers(config) == 2 else 0))


def solved(config: Config) -> bool:
    """Return whether the run is solved exactly, without steps."""
    return config.algorithm.name == "kernel_ridge"


def perturbed(config: Config) -> bool:
    """Return whether steps draw noise (Algorithms 2 and 3)."""
    return isinstance(config.algorithm, PerturbedAlgorithm)
