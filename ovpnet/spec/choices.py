"""The kinds of choices that a run is made of, and the facts that each choice of a kind must state.

A choice is a config node (its fields are keys) and knows what others ask of it. Its class is in the room where it
computes, in a module of its own; torch is imported in the methods that compute.
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, dataclass_transform

from ovpnet.spec.errors import ConfigError
from ovpnet.spec.keys import LARGEST_SEED, MISSING, key
from ovpnet.spec.registry import Registry

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from ovpnet.nets.base import Net
    from ovpnet.problem.series import Series
    from ovpnet.problem.sets import Weights
    from ovpnet.spec.config import Config

C = TypeVar("C")


class Choice:
    """A choice that a run makes of one kind."""

    def check(self, config: "Config") -> None:
        """Raise ConfigError if the choice is impossible with the rest of the run's config."""

    def canonical(self, config: "Config") -> "Config":
        """Return the config with each key that means nothing to this choice at one value."""
        return config


@dataclass
class Concept(Choice):
    """A target function F*: R^d -> R^k, drawn by `concept.seed` from a class of functions."""

    family: str = key(MISSING, "class of functions")
    name: str = key(MISSING, "label used in tables and figures; not part of the run's identity", identity=False)
    k: int = key(1, "number of outputs", low=1)
    seed: int = key(0, "seed of the target's weights, shared by every run of a study", low=0, high=LARGEST_SEED,
                    per_member=True)

    # The number of outputs that it can have, and the d that it is a function of; None: any.
    outputs: ClassVar[int | None]
    dimension: ClassVar[int | None]
    # In the paper's class (3.1) or (4.1): a fit of its own class can be compared with it.
    in_class: ClassVar[bool]
    # F* = 0 and every label is a fair sign that does not depend on x.
    pure_noise: ClassVar[bool]

    @abstractmethod
    def series(self, d: int) -> "Series | None":
        """Return the power series of F*'s activations on R^d: the source of its domain and complexities.

        It is None if F* has none.
        """

    @abstractmethod
    def draw(self, rng: "np.random.Generator", d: int) -> "Weights":
        """Draw weights on the constraint set: unit vectors uniform on the sphere, output weights uniform on [-1, 1].

        They are empty if the class has one function.
        """

    @abstractmethod
    def evaluate(self, weights: "Weights", x: "Tensor") -> "Tensor":
        """Return F*(x) [..., n, k] at x [..., n, d], float64, differentiable in the weights.

        The weights may carry leading batch axes (such as restarts of a fit), which broadcast with those of x.
        """

    @abstractmethod
    def project(self, weights: "Weights") -> "Weights":
        """Return the weights moved back onto the constraint set; batch axes as in `evaluate`."""

    def check(self, config: "Config") -> None:
        d = config.inputs.d
        if self.dimension not in (None, d):
            raise ConfigError("inputs.d", d, f"concept={self.family} is a function of {self.dimension} inputs")
        if self.outputs not in (None, self.k):
            raise ConfigError("concept.k", self.k, f"concept={self.family} has {self.outputs} output"
                              f"{'s' * (self.outputs != 1)}")
        if (series := self.series(d)) is not None:
            series.check_domain(config.dtype)


@dataclass
class Inputs(Choice):
    """A distribution of x in R^d with ||x|| = 1."""

    family: str = key(MISSING, "distribution")
    d: int = key(4, "input dimension", low=2)

    @abstractmethod
    def sample(self, rng: "np.random.Generator", n: int) -> "Tensor":
        """Draw n independent inputs [n, d], float64. The first rows of a larger draw are those of a smaller one."""


@dataclass
class Noise(Choice):
    """Noise of the labels."""

    kind: str = key(MISSING, "kind of label noise", per_member=True)
    level: float = key(0.0, "standard deviation, half width, or probability of a flip", low=0, per_member=True)

    # Labels that it can be added to.
    of_numbers: ClassVar[bool]
    of_classes: ClassVar[bool]
    # The variance of the noise of a number, in units of level^2; None if it has none.
    variance: ClassVar[float | None]

    @abstractmethod
    def add(self, values: "Tensor", rng: "np.random.Generator") -> "Tensor":
        """Return noisy numbers: values [n, k] and independent noise of zero mean, symmetric around 0."""

    @abstractmethod
    def change(self, classes: "Tensor", count: int, uniform: "Tensor") -> "Tensor":
        """Return noisy classes [n], of `count` ones; uniform [n, 2] are draws from [0, 1)."""

    def check(self, config: "Config") -> None:
        kind, fact = ("classes", "of_classes") if config.loss.classes else ("numbers", "of_numbers")
        if not getattr(self, fact):
            allowed = [name for name in NOISES.names() if getattr(NOISES[name], fact)]
            raise ConfigError("noise.kind", self.kind, f"labels of loss={config.loss.name} are {kind}; allowed: "
                              + ", ".join(allowed))


@dataclass
class Loss(Choice):
    """L(F(x), y), convex in F (Section 2). Shapes: F and y [..., n, k], losses [..., n], gradients [..., n, k]."""

    name: str = key(MISSING, "loss")

    # Labels are classes, made from F*: -1 and 1, or one-hot rows.
    classes: ClassVar[bool]
    # E L(F*, F* + noise) is the variance of the noise.
    square: ClassVar[bool]

    @abstractmethod
    def value(self, output: "Tensor", y: "Tensor") -> "Tensor":
        """Return L(F, y)."""

    @abstractmethod
    def gradient(self, output: "Tensor", y: "Tensor") -> "Tensor":
        """Return dL/dF."""

    @abstractmethod
    def label(self, target: "Tensor", noise: Noise, rng: "np.random.Generator") -> "Tensor":
        """Return noisy labels y [n, k] of the target's values F*(x) [n, k], in float64."""

    @property
    def target_is_optimal(self) -> bool:
        """True if no function has less risk than F* on labels without a flip."""
        return True


@dataclass
class Learner(Choice):
    """The network that is trained; its width is the top-level key `width`."""

    name: str = key(MISSING, "architecture")
    trained: str = key("hidden", "trained part: `hidden` weights (W; W and V); the `last` layer a (conjugate kernel); "
                       "`ntk`: W and V of the linearization at initialization; `quadratic`: W and V of the net with "
                       "its signs frozen at initialization (pseudo network); `all` weights and biases",
                       choices=("hidden", "last", "ntk", "quadratic", "all"))
    biases: bool = key(False, "hidden biases are trained with W and V (learner.trained=hidden, ntk, quadratic); "
                       "frozen in the theorems, trained in the presets of Section 7 but for their NTK")
    a_std: float = key(1.0, "standard deviation eps_a of the output weights at initialization, if a_std_exponent=0",
                       above=0, per_member=True)
    a_std_exponent: float = key(0.0, "s: the output weights' standard deviation is a_std m^-s, m the width of the last "
                                "hidden layer; 0 = NTK scaling with lr/m, 1/2 to 1 = towards mean field", low=0,
                                per_member=True, added=0.0)

    # The matrices of its hidden layers, and whether it is the limit m = infinity.
    matrices: ClassVar[tuple[str, ...]]
    infinite: ClassVar[bool]
    # It is the net of (3.2) or of Section 4, or its linearization: what compiled loops compute.
    relu: ClassVar[bool]

    @abstractmethod
    def net(self) -> "Net":
        """Return the net that computes: its forward pass, gradients and initialization."""

    @property
    def hidden_layers(self) -> int:
        """The number of hidden layers."""
        return len(self.matrices)

    @property
    def linear(self) -> bool:
        """True if f is affine in what is trained."""
        return self.trained in ("last", "ntk")

    @property
    def frozen(self) -> bool:
        """True if signs are frozen at initialization, whose weights are kept beside the net's own."""
        return self.trained in ("ntk", "quadratic")

    @property
    def trained_layers(self) -> tuple[str, ...]:
        """The trained layers, in the names of the regularizer's keys."""
        if self.trained == "last":
            return ("rest",)
        return (*self.matrices, "rest") if self.biases or self.trained == "all" else self.matrices

    def output_std(self, config: "Config") -> float:
        """Return the standard deviation of the output weights at initialization: a_std m^-s."""
        return self.a_std * config.second_width**-self.a_std_exponent

    def check(self, config: "Config") -> None:
        if self.biases and self.trained in ("last", "all"):
            raise ConfigError("learner.biases", True, f"must be false with learner.trained={self.trained}; it "
                              "belongs to hidden, ntk and quadratic")
        if config.width2 is not None and (self.hidden_layers < 2 or self.infinite):
            raise ConfigError("width2", config.width2, f"learner={self.name} has no second hidden layer of finite "
                              "width; allowed: null")


@dataclass
class Algorithm(Choice):
    """A way to train a learner. All algorithms have these keys; an algorithm without steps has one value of each."""

    name: str = key(MISSING, "label")
    momentum: float = key(0.0, "heavy-ball momentum as in torch.optim.SGD", low=0, high=0.999999, per_member=True)
    sampling: str = key("replacement", "`replacement`: i.i.d. from the training set; `shuffle`: shuffled epochs; "
                        "`one_pass`: fresh samples, each used once", choices=("replacement", "shuffle", "one_pass"))
    decay_at: float = key(1.0, "fraction of the steps after which lr is multiplied by decay_factor; 1 = never",
                          above=0, high=1, per_member=True)
    decay_factor: float = key(0.1, "see decay_at", above=0, high=1, per_member=True)
    judged: str = key("last", "compared with OPT + epsilon: the risk of the `last` iterate, or the `average` of the "
                      "population risks of all iterates W_0 ... W_{T-1} (Theorem 1)", choices=("last", "average"))

    # It takes steps, each on a minibatch. False: it solves for the minimum on the whole training set.
    iterative: ClassVar[bool]
    # Its steps draw noise and signs, and its net is lambda f (Algorithms 2 and 3).
    perturbed: ClassVar[bool]

    @abstractmethod
    def total_steps(self, config: "Config") -> int:
        """Return the number of SGD steps of a run."""

    @property
    def flips(self) -> bool:
        """True if its steps flip the increments by random signs Sigma."""
        return False

    def smoothing(self, config: "Config") -> Mapping[str, float]:
        """Return the standard deviations of the noise W^rho and V^rho of its steps, under the matrices' names."""
        return {"W": 0.0, "V": 0.0}

    def rate(self, config: "Config") -> float | None:
        """Return the part of lambda that a round takes away, if it decays; None if there is no lambda."""
        return None

    def penalty_units(self, config: "Config") -> Mapping[str, float]:
        """Return what regularizer=table1 multiplies the penalties of W, V and the rest by."""
        raise ConfigError("regularizer.name", "table1", "its coefficients come from algorithm.eps0 and algorithm.C0; "
                          "allowed with algorithm=algorithm2, algorithm3")

    def canonical(self, config: "Config") -> "Config":
        if self.decay_at == 1:
            return with_values(config, algorithm=with_values(self, decay_factor=0.1))
        return config


@dataclass
class Regularizer(Choice):
    """R, added to the loss with the coefficient `weight_decay`: a penalty per trained matrix.

    `frobenius`: ||W||_F^2 / 2, torch's weight decay; `row_24`: ||W||_{2,4}^4.
    `table1`, of Algorithms 2 and 3: lambda_v ||V'||_F^2 + lambda_w ||W'||_{2,4}^4, with Table 1's lambdas.
    """

    name: str = key(MISSING, "label; `table1` multiplies the factors below by Table 1's lambda_w and 2 lambda_v")
    of: str = key("weights", "R of the `weights`, or of their `increments` since initialization",
                  choices=("weights", "increments"))
    W: str = key("none", "penalty of W, if it is trained", choices=lambda: ("none", *PENALTIES.names()))
    V: str = key("none", "penalty of V, if it is trained", choices=lambda: ("none", *PENALTIES.names()))
    rest: str = key("none", "penalty of output weights and biases, if they are trained",
                    choices=lambda: ("none", *PENALTIES.names()))
    weight_W: float = key(1.0, "factor of W's penalty, besides weight_decay", low=0, per_member=True)
    weight_V: float = key(1.0, "factor of V's penalty, besides weight_decay", low=0, per_member=True)
    weight_rest: float = key(1.0, "factor of the other penalties, besides weight_decay", low=0, per_member=True)

    # The algorithm multiplies the penalties' factors (Table 1).
    scaled_by_algorithm: ClassVar[bool]

    def quadratic(self, layer: str) -> bool:
        """Tell whether the penalty of a layer (W, V or rest), if it has one, is half the sum of squares."""
        kind = getattr(self, layer)
        return kind == "none" or PENALTIES[kind].quadratic

    def units(self, config: "Config") -> Mapping[str, float]:
        """Return what the factors of the penalties of W, V and the rest are multiplied by."""
        return config.algorithm.penalty_units(config) if self.scaled_by_algorithm else {"W": 1.0, "V": 1.0, "rest": 1.0}

    def check(self, config: "Config") -> None:
        # A layer may be left out of what the regularizer's name says, and nothing else.
        for layer in ("W", "V", "rest"):
            kind = getattr(self, layer)
            if kind not in ("none", self.name):
                raise ConfigError(f"regularizer.{layer}", kind, f"allowed with regularizer={self.name}: "
                                  + ", ".join(dict.fromkeys([self.name, "none"])))

    def canonical(self, config: "Config") -> "Config":
        trained = config.learner.trained_layers
        weights: dict[str, Any] = {f"weight_{layer}": 1.0 for layer in ("W", "V", "rest")
                                   if layer not in trained or getattr(self, layer) == "none"}
        return with_values(config, regularizer=with_values(self, **weights))


class PenaltyKind:
    """A penalty R of one matrix W [E, rows, columns], or of a vector [E, rows], which has one entry per row."""

    degree: ClassVar[int]  # R(c W) = c^degree R(W)
    quadratic: ClassVar[bool]  # R is half the sum of squares, as closed-form minima need it

    @abstractmethod
    def value(self, weights: "Tensor") -> "Tensor":
        """Return R [E]."""

    @abstractmethod
    def slope(self, weights: "Tensor") -> "Tensor | float":
        """Return the factor by which a row's weights are multiplied in R's gradient: a number, or [E, rows]."""


def with_values(node: C, **values: Any) -> C:
    """Return the node with these values: itself if it has them, so that the configs of a sweep go on sharing it."""
    same = all(getattr(node, name) is value or getattr(node, name) == value for name, value in values.items())
    return node if same else replace(node, **values)  # type: ignore[type-var]


CONCEPTS: Registry[Concept] = Registry("concept", Concept, "ovpnet.problem.concepts", selector="family")
INPUTS: Registry[Inputs] = Registry("inputs", Inputs, "ovpnet.problem.inputs", selector="family")
NOISES: Registry[Noise] = Registry("noise", Noise, "ovpnet.problem.noise", selector="kind")
LOSSES: Registry[Loss] = Registry("loss", Loss, "ovpnet.nets.losses", selector="name")
LEARNERS: Registry[Learner] = Registry("learner", Learner, "ovpnet.nets.learners", selector="name")
ALGORITHMS: Registry[Algorithm] = Registry("algorithm", Algorithm, "ovpnet.training.algorithms", selector="name")
REGULARIZERS: Registry[Regularizer] = Registry("regularizer", Regularizer, "ovpnet.nets.regularizers", selector="name")
PENALTIES: Registry[PenaltyKind] = Registry("penalty", PenaltyKind, "ovpnet.nets.penalties")

# The kinds that are nodes of a config, under the names of their keys there.
KINDS: dict[str, Registry[Any]] = {each.kind: each for each in (
    CONCEPTS, INPUTS, NOISES, LOSSES, LEARNERS, ALGORITHMS, REGULARIZERS)}


@dataclass_transform()
def concept(family: str) -> Callable[[type[C]], type[C]]:
    """Register a concept: `concept=FAMILY`."""
    return CONCEPTS.register(family)


@dataclass_transform()
def inputs(family: str) -> Callable[[type[C]], type[C]]:
    """Register an input distribution: `inputs=FAMILY`."""
    return INPUTS.register(family)


@dataclass_transform()
def noise(kind: str) -> Callable[[type[C]], type[C]]:
    """Register a label noise: `noise=KIND`."""
    return NOISES.register(kind)


@dataclass_transform()
def loss(name: str) -> Callable[[type[C]], type[C]]:
    """Register a loss: `loss=NAME`."""
    return LOSSES.register(name)


@dataclass_transform()
def learner(name: str) -> Callable[[type[C]], type[C]]:
    """Register a learner: `learner=NAME`."""
    return LEARNERS.register(name)


@dataclass_transform()
def algorithm(name: str) -> Callable[[type[C]], type[C]]:
    """Register an algorithm: `algorithm=NAME`."""
    return ALGORITHMS.register(name)


@dataclass_transform()
def regularizer(name: str) -> Callable[[type[C]], type[C]]:
    """Register a regularizer: `regularizer=NAME`."""
    return REGULARIZERS.register(name)


def penalty(name: str) -> Callable[[type[C]], type[C]]:
    """Register a penalty of a matrix, which regularizers name: `regularizer.W=NAME`."""
    return PENALTIES.register(name)
