"""What a run is made of: typed config nodes with bounds, registered as the schemas of the YAML in conf/.

`Config` is one run. Hydra composes it; `resolve` checks it and returns it as plain dataclasses;
`identity` is the part of it that can change a number, and `run_id` its short hash.
"""

import hashlib
import json
import math
import os
import unicodedata
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from functools import cache
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ovpnet.spec.errors import ConfigError

if TYPE_CHECKING:
    from omegaconf import DictConfig

# OmegaConf's mark of a value that has to be given. OmegaConf and Hydra are imported where they compose: the analysis
# looks at configs without them, and need not wait a quarter of a second.
MISSING: Any = "???"

# Noise draws at the end of Algorithms 2 and 3, at most, where their number follows from eps0: each one costs m^2 random
# numbers and a pass over the training set.
MOST_DRAWS = 1000

ACTIVATIONS = ("sin", "cos", "exp", "tanh", "sigmoid", "erf", "poly")


def key(default: Any, help: str, *, low: float | None = None, high: float | None = None,
        above: float | None = None, choices: Sequence[str] | None = None, printed: bool = False) -> Any:
    """A config field with its meaning and its bounds: low <= value <= high, value > above, one of choices, or no
    control characters (of a text that is `printed`, in commands to copy)."""
    metadata = {"help": help, "low": low, "high": high, "above": above, "choices": choices, "printed": printed}
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata=metadata)
    return field(default=default, metadata=metadata)


# --- concept classes -------------------------------------------------------------------------------


@dataclass
class ConceptConfig:
    """A target function F*: R^d -> R^k."""

    family: str = MISSING
    name: str = key(MISSING, "label used in tables and figures; not part of the run's identity")
    k: int = key(1, "number of outputs", low=1)
    seed: int = key(0, "seed of the target's weights, shared by every run of a study", low=0, high=2**63 - 1)


@dataclass
class TwoLayerConcept(ConceptConfig):
    """Concept class (3.1): F*_r(x) = sum_i a_ri phi_i(<w1_i, x>) <w2_i, x>."""

    family: str = "two_layer"
    name: str = "two_layer"
    p: int = key(4, "number of neurons of the target", low=1)
    activations: list[str] = key(["sin"], "phi_i, cycled over the neurons", choices=ACTIVATIONS)
    scales: list[float] = key([1.0], "inner scale c of phi_i(z) = phi(c z), cycled", above=0)
    poly: list[float] = key([0.0, 1.0], "coefficients c_0, c_1, ... of the activation `poly`")
    plain: bool = key(False, "w2_i = (0, ..., 0, 1): a plain two-layer teacher where x_d = 1/2")


@dataclass
class ThreeLayerConcept(ConceptConfig):
    """Concept class (4.1), or with general=true the general form of Remark 4.2."""

    family: str = "three_layer"
    name: str = "three_layer"
    p1: int = key(2, "number of outer neurons", low=1)
    p2: int = key(2, "number of inner neurons", low=1)
    outer: list[str] = key(["sin"], "Phi_i, cycled", choices=ACTIVATIONS)
    outer_scales: list[float] = key([1.0], "inner scale of Phi_i, cycled", above=0)
    phi1: list[str] = key(["sin"], "phi_1j, cycled", choices=ACTIVATIONS)
    phi1_scales: list[float] = key([1.0], "inner scale of phi_1j, cycled", above=0)
    phi2: list[str] = key(["cos"], "phi_2j, cycled", choices=ACTIVATIONS)
    phi2_scales: list[float] = key([1.0], "inner scale of phi_2j, cycled", above=0)
    poly: list[float] = key([0.0, 1.0], "coefficients c_0, c_1, ... of the activation `poly`")
    general: bool = key(False, "Remark 4.2: inner terms phi_1j(<w1_j, x>) <w3_j, x>, phi_2j(<w2_j, x>) <w4_j, x>")


@dataclass
class Figure1Concept(ConceptConfig):
    """Section 7, Figure 1: (sin 3x1 + sin 3x2 + sin 3x3 - 2)^2 cos 7x4."""

    family: str = "figure1"
    name: str = "figure1"


@dataclass
class Figure2Concept(ConceptConfig):
    """Section 7, Figure 2: (tanh 8x1 + tanh 8x2 + tanh 8x3 - 2)^2 tanh 8x4."""

    family: str = "figure2"
    name: str = "figure2"


@dataclass
class CosExpConcept(ConceptConfig):
    """Section 4.3's example: cos(c <w1, x>) exp(c <w2, x>)."""

    family: str = "cos_exp"
    name: str = "cos_exp"
    c: float = key(3.0, "the constant in front of both inner products (100 in the paper)", above=0)


@dataclass
class ReluTeacherConcept(ConceptConfig):
    """Control outside the theorems' reach (ReLU has no Taylor series): F*_r(x) = sum_i a_ri relu(<w_i, x>)."""

    family: str = "relu_teacher"
    name: str = "relu_teacher"
    p: int = key(4, "number of neurons of the target", low=1)


@dataclass
class ParityConcept(ConceptConfig):
    """Control outside the theorems' reach: the product of the signs of `sparsity` coordinates, drawn by seed."""

    family: str = "parity"
    name: str = "parity"
    sparsity: int = key(2, "number of coordinates in the product", low=1)


@dataclass
class RandomLabelsConcept(ConceptConfig):
    """Control: F* = 0; every label is pure noise, a fair sign independent of x."""

    family: str = "random_labels"
    name: str = "random_labels"


# --- inputs, label noise, losses -------------------------------------------------------------------


@dataclass
class InputsConfig:
    """A distribution of x in R^d with ||x|| = 1."""

    family: str = key(MISSING, "distribution", choices=("normalized_gaussian", "half_sphere", "hypercube", "mixture"))
    d: int = key(4, "input dimension", low=2)


@dataclass
class MixtureInputs(InputsConfig):
    """Normalized (mu_c + spread g), g ~ N(0, I/d): a Gaussian mixture with unit centres, on the sphere."""

    family: str = "mixture"
    components: int = key(4, "number of components, equally likely", low=1)
    spread: float = key(0.5, "standard deviation of ||g||-normalized noise about a centre", above=0)
    seed: int = key(0, "seed of the centres", low=0, high=2**63 - 1)


@dataclass
class NoiseConfig:
    """Label noise. `gaussian`: N(0, level^2); `uniform`: U[-level, level]; `flip`: another class."""

    kind: str = key("none", "kind of label noise", choices=("none", "gaussian", "uniform", "flip"))
    level: float = key(0.0, "standard deviation, half width, or probability of a flip", low=0)


@dataclass
class LossConfig:
    """L(F(x), y), convex in F."""

    name: str = key(MISSING, "loss", choices=("l2", "huber", "logistic", "cross_entropy"))


@dataclass
class ClassificationLoss(LossConfig):
    """Losses whose labels are classes, made from F*."""

    labels: str = key("sample", "`sample`: y drawn with the probabilities the loss assigns to F* (then F* is optimal); "
                      "`hard`: the most likely label", choices=("sample", "hard"))


# --- learners and algorithms -----------------------------------------------------------------------


LIMITS = ("two_layer_limit", "three_layer_limit")


@dataclass
class LearnerConfig:
    """The network that is trained; its width is the top-level key `width`.

    `two_layer_limit` and `three_layer_limit` are its limit m = infinity, kernel ridge regression with the closed-form
    kernel: algorithm=kernel_ridge, trained=last or ntk. Their width is 0, whatever is given. The NTK of a net of width
    m is m times the limit's, so the net's weight_decay must be m times the limit's for both to find the same function.
    """

    name: str = key(MISSING, "architecture", choices=("two_layer", "three_layer", *LIMITS))
    trained: str = key("hidden", "trained part: `hidden` weights (W; W and V); the `last` layer a (conjugate kernel); "
                       "`ntk`: W and V of the linearization at initialization; `quadratic`: W and V of the net with "
                       "its signs frozen at initialization (pseudo network); `all` weights and biases",
                       choices=("hidden", "last", "ntk", "quadratic", "all"))
    biases: bool = key(False, "hidden biases are trained with W and V (learner.trained=hidden, ntk, quadratic); "
                       "frozen in the theorems, trained in the presets of Section 7 but for their NTK")
    a_std: float = key(1.0, "standard deviation eps_a of the output weights at initialization", above=0)


@dataclass
class AlgorithmConfig:
    """SGD: Algorithm 1, or the minibatch momentum SGD of Section 7. Or the exact minimum of what SGD minimizes.

    `kernel_ridge` solves loss=l2 with learner.trained=last or ntk in closed form. At weight_decay=0 it takes the
    minimum of least norm, of what regularizer.of says (with regularizer=none of the increments, as SGD finds it). It
    takes no steps: steps, epochs, evaluations, batch_size, lr, lr_scaling, dtype and the keys below are set to one
    value each, so that a sweep over them asks for one run.
    """

    name: str = key(MISSING, "label", choices=("sgd", "momentum_sgd", "kernel_ridge"))
    momentum: float = key(0.0, "heavy-ball momentum as in torch.optim.SGD", low=0, high=0.999999)
    sampling: str = key("replacement", "`replacement`: i.i.d. from the training set; `shuffle`: shuffled epochs; "
                        "`one_pass`: fresh samples, each used once", choices=("replacement", "shuffle", "one_pass"))
    decay_at: float = key(1.0, "fraction of the steps after which lr is multiplied by decay_factor; 1 = never",
                          above=0, high=1)
    decay_factor: float = key(0.1, "see decay_at", above=0, high=1)
    judged: str = key("last", "compared with OPT + epsilon: the risk of the `last` iterate, or the `average` of the "
                      "population risks of all iterates W_0 ... W_{T-1} (Theorem 1)", choices=("last", "average"))


@dataclass
class PerturbedAlgorithm(AlgorithmConfig):
    """Algorithms 2 and 3: noisy SGD on the smoothed objective of (W', V') = (W - W0, V - V0),

        L( lambda F(x; W0 + W^rho + Sigma W', V0 + V^rho + V' Sigma), y ) + R( sqrt(lambda) W', sqrt(lambda) V' ),

    T rounds of T_w steps, with lambda <- (1 - rate) lambda between rounds. Every step draws new Gaussian noise W^rho,
    V^rho and, in Algorithm 2, new signs Sigma. In the end the noise draw of least training loss gives the weights.
    """

    name: str = key(MISSING, "label", choices=("algorithm2", "algorithm3"))
    signs: bool = key(True, "random signs Sigma (Algorithm 2); false: none (Algorithm 3)")
    eps0: float = key(0.1, "the theorems' precision eps0, in units of the loss; sets rounds, draws and Table 1",
                      low=1e-12, high=0.999999)
    C0: float | None = key(1.0, "Table 1's C0. The theorems' own value is astronomically large, which switches the "
                           "penalty of W off; null = that value, of the concept's complexities at C_star", low=1e-12)
    inner_steps: int = key(20, "T_w, SGD steps a round; the run takes rounds x inner_steps", low=1)
    rounds: int | None = key(None, "T; null = rounds_multiplier x log(log(m1 m2) / eps0) / lambda_rate", low=1)
    rounds_multiplier: float = key(1.0, "constant in T; 1 takes lambda down to eps0 / log(m1 m2)", above=0)
    lambda_decay: bool = key(True, "false: lambda stays 1, in as many rounds")
    lambda_rate: float | None = key(0.05, "lambda <- (1 - lambda_rate) lambda after a round; null = eta, as the "
                                    "paper has it: then the rounds grow as 1/eta = m / lr", above=0, high=0.999999)
    sigma_w: float | None = key(None, "standard deviation of W^rho's entries; null = sigma_w_multiplier x Table 1's; "
                                "0 = no smoothing", low=0)
    sigma_v: float | None = key(None, "standard deviation of V^rho's entries; null = sigma_v_multiplier x Table 1's; "
                                "0 = no smoothing", low=0)
    sigma_w_multiplier: float = key(1.0, "see sigma_w", low=0)
    sigma_v_multiplier: float = key(1.0, "see sigma_v", low=0)
    iterate_noise: float = key(1e-4, "standard deviation of the Gaussian noise added to every entry of W and V after "
                               "each step; 0 = none", low=0)
    draws: int | None = key(None, "noise draws that the end chooses from; null = draws_multiplier / eps0^2, at most "
                            f"{MOST_DRAWS} (and 1 without smoothing)", low=1)
    draws_multiplier: float = key(1.0, "see draws", above=0)


PENALTIES = ("none", "frobenius", "row_24")


@dataclass
class RegularizerConfig:
    """R, added to the loss with the coefficient `weight_decay`: a penalty for every trained matrix.

    `frobenius`: ||W||_F^2 / 2, torch's weight decay; `row_24`: ||W||_{2,4}^4.
    `table1`, of Algorithms 2 and 3: lambda_v ||V'||_F^2 + lambda_w ||W'||_{2,4}^4, with Table 1's lambdas.
    """

    name: str = key(MISSING, "label; `table1` multiplies the factors below by Table 1's lambda_w and 2 lambda_v",
                    choices=("none", "frobenius", "row_24", "table1"))
    of: str = key("weights", "R of the `weights`, or of their `increments` since initialization",
                  choices=("weights", "increments"))
    W: str = key("none", "penalty of W, where it is trained", choices=PENALTIES)
    V: str = key("none", "penalty of V, where it is trained", choices=PENALTIES)
    rest: str = key("none", "penalty of output weights and biases, where they are trained", choices=PENALTIES)
    weight_W: float = key(1.0, "factor of W's penalty, besides weight_decay", low=0)
    weight_V: float = key(1.0, "factor of V's penalty, besides weight_decay", low=0)
    weight_rest: float = key(1.0, "factor of the other penalties, besides weight_decay", low=0)


@dataclass
class TestConfig:
    """How precisely the population risk is measured (validation risk likewise, on its own fresh sample)."""

    se: float = key(0.05, "fresh samples are drawn until the standard error of the risk is at most this fraction of "
                    "the larger of epsilon and the excess risk", above=0)
    samples: int = key(8192, "samples drawn at a time", low=2)
    curve_samples: int = key(2048, "samples for each point of the learning curve", low=2)
    max_samples: int = key(1 << 20, "samples drawn at most", low=2)


@dataclass
class DiagnosticsConfig:
    """What is measured along training besides risks, at every point of the learning curve; nothing by default.

    The columns are explained in `ovpnet/training/diagnostics/`. What has no meaning for a learner is null.
    """

    name: str = key("none", "label; not part of the run's identity")
    norms: bool = key(False, "norms of the increments W' and V', and Figure 3's norm ratio of W")
    approximations: bool = key(False, "on held-out x: ReLU signs changed since initialization, distances from the "
                               "quadratic and the linear approximation, drift of the NTK")
    saddles: bool = key(False, "gradient norms, extreme eigenvalues of the smoothed objective's Hessian, the decrease "
                        "that weight decay gives, saddle points and the steps to escape them (Lemma 6.7)")
    samples: int = key(512, "held-out x of the approximations", low=1)
    drift_samples: int = key(64, "held-out x of the NTK's Gram matrix", low=2)
    draws: int = key(8, "draws of the smoothing noise in an eigenvalue; as many again check its direction", low=2)
    lanczos: int = key(12, "Lanczos vectors kept; convergence restarts from them", low=4)
    sigma_w: float | None = key(None, "standard deviation of the smoothing noise W^rho; null = the algorithm's own, or "
                                "where it has none Table 1's m^-0.99", above=0)
    sigma_v: float | None = key(None, "standard deviation of the smoothing noise V^rho; null = the algorithm's own, or "
                                "where it has none Table 1's m^-0.51", above=0)
    saddle_gradient: float = key(0.3, "at a saddle point the smoothed objective's gradient norm is at most this times "
                                 "the unsmoothed one's at initialization (where Sigma makes the smoothed one's 0)",
                                 above=0)
    saddle_curvature: float = key(0.01, "at a saddle point the curvature is at most minus this times the Hessian's "
                                  "largest eigenvalue", above=0)
    escape_fraction: float = key(0.1, "a saddle point is escaped when the training objective has fallen by this "
                                 "fraction since", above=0, high=1)

    @property
    def measured(self) -> bool:
        """Whether anything is."""
        return self.norms or self.approximations or self.saddles


@dataclass
class OptConfig:
    """How the empirical OPT is found."""

    method: str = key("auto", "`noise`: the target's own risk; `fit`: best fit of the concept class; "
                      "`auto`: noise where the target is optimal and in the class, else fit",
                      choices=("auto", "noise", "fit"))
    samples: int = key(1 << 20, "samples of the Monte Carlo estimate of the target's own risk", low=2)
    fit_samples: int = key(20_000, "samples that the class is fitted on; as many again choose the restart, and as "
                           "many again measure its risk", low=100)
    restarts: int = key(8, "random restarts of the fit", low=1)
    steps: int = key(2_000, "optimization steps of the fit", low=1)
    p: int = key(8, "size of the two-layer class (3.1) fitted to a target that has no class of its own", low=1)
    activations: list[str] = key(["sin", "cos"], "its activations, cycled", choices=ACTIVATIONS)


@dataclass
class TrackerConfig:
    """Where runs are reported besides the store."""

    name: str = key("none", "tracker", choices=("none", "wandb"))
    project: str = key("ovpnet", "W&B project")
    entity: str | None = key(None, "W&B entity; null = your default")
    mode: str = key("auto", "`online`: jobs report after every pack; `offline`: jobs write nothing for W&B, `ovpnet "
                    "launch sync` uploads from the store; `auto`: online with an API key, else offline",
                    choices=("auto", "online", "offline"))
    per: str = key("run", "what becomes a W&B run: each `run`; each `pack`, as a table of its runs with mean and "
                   "quantile curves; each study (`sweep`), as a table, which `ovpnet launch sync` alone can make",
                   choices=("run", "pack", "sweep"))


@dataclass(slots=True)  # a sweep keeps a million of them: 300 bytes each instead of 1,600
class Config:
    """One run: a member of an ensemble."""

    width: int = key(256, "m, neurons of each hidden layer: at least 1. 0 stands for m = infinity, and is what the "
                     "infinite-width learners make of any width", low=0, high=100_000_000)
    samples: int = key(400, "N, size of the training set", low=1)
    seed: int = key(0, "seed of everything random in a run but the target itself", low=0, high=2**63 - 1)
    epsilon: float = key(0.1, "a run reaches its goal when its test risk is at most OPT + epsilon", above=0)
    epsilon_unit: str = key("relative", "epsilon times E||y||^2 (`relative`), or in units of the loss (`absolute`)",
                            choices=("relative", "absolute"))
    lr: float = key(0.5, "learning rate eta, in units set by lr_scaling", above=0)
    lr_scaling: str = key("inverse_width", "`inverse_width`: eta = lr / m (Theorem 1), so one grid serves all widths; "
                          "`none`: eta = lr", choices=("inverse_width", "none"))
    weight_decay: float = key(0.0, "coefficient of the regularizer", low=0)
    batch_size: int = key(50, "samples a step", low=1)
    steps: int | None = key(None, "number of SGD steps T; give steps or epochs", low=1)
    epochs: float | None = key(None, "passes over the training set; give steps or epochs", above=0)
    evaluations: int = key(20, "points of the learning curve, evenly spread over the steps", low=1)
    C_star: float = key(1e4, "the constant C* of the concept's complexities C_s and C_eps (Section 2), which are "
                        "recorded beside the results", above=0)
    dtype: str = key("float32", "precision of training", choices=("float32", "float64"))
    concept: ConceptConfig = MISSING
    inputs: InputsConfig = MISSING
    noise: NoiseConfig = MISSING
    loss: LossConfig = MISSING
    learner: LearnerConfig = MISSING
    algorithm: AlgorithmConfig = MISSING
    regularizer: RegularizerConfig = MISSING
    test: TestConfig = field(default_factory=TestConfig)
    opt: OptConfig = field(default_factory=OptConfig)
    diagnostics: DiagnosticsConfig = MISSING
    # Below: nothing that can change a number.
    engine: str = key("auto", "training engine: `reference`, batched PyTorch; `fused`, all steps in compiled loops; "
                      "`dual`, the same iterates of learners that are linear in what is trained (last, ntk), through "
                      "their kernel; `auto`, the fastest one that covers the run",
                      choices=("auto", "reference", "fused", "dual"))
    device: str = key("auto", "`auto` (a GPU if there is one), `cpu`, `cuda` or `cuda:N`")
    store: str = key("store", "directory of the run store", printed=True)
    checkpoint_minutes: float = key(5.0, "minutes of training between two checkpoints of a pack, in "
                                    "STORE/checkpoints; an interrupted one goes on from the last", low=0)
    study: str = key("default", "label of the study this run was asked for in; the W&B group")
    tracker: TrackerConfig = MISSING


# The keys of Config that are nodes, and what reads of which classes they are.
_NODES = tuple(item.name for item in fields(Config) if is_dataclass(item.type))
_classes: Callable[[Config], tuple[type, ...]] = attrgetter(*(f"{name}.__class__" for name in _NODES))

# Keys that cannot change a number, and so are not part of a run's identity.
NOT_IDENTITY = ("engine", "device", "store", "checkpoint_minutes", "study", "tracker", "concept.name",
                "diagnostics.name", "epochs")

# Keys in which the members of one ensemble may differ; all others make up the static signature.
PER_MEMBER = ("samples", "seed", "epsilon", "epsilon_unit", "lr", "lr_scaling", "weight_decay", "concept.seed",
              "inputs.seed", "noise.kind", "noise.level", "learner.a_std", "algorithm.momentum", "algorithm.decay_at",
              "algorithm.decay_factor", "regularizer.weight_W", "regularizer.weight_V",
              "regularizer.weight_rest", "opt", "C_star", *(f"algorithm.{name}" for name in (
                  "eps0", "C0", "inner_steps", "rounds", "rounds_multiplier", "lambda_decay", "lambda_rate", "sigma_w",
                  "sigma_v", "sigma_w_multiplier", "sigma_v_multiplier", "iterate_noise", "draws", "draws_multiplier")))

SCHEMAS: dict[str, dict[str, type]] = {
    "concept": {"two_layer": TwoLayerConcept, "three_layer": ThreeLayerConcept, "figure1": Figure1Concept,
                "figure2": Figure2Concept, "cos_exp": CosExpConcept, "relu_teacher": ReluTeacherConcept,
                "parity": ParityConcept, "random_labels": RandomLabelsConcept},
    "inputs": {"simple": InputsConfig, "mixture": MixtureInputs},
    "noise": {"noise": NoiseConfig},
    "loss": {"regression": LossConfig, "classification": ClassificationLoss},
    "learner": {"learner": LearnerConfig},
    "algorithm": {"algorithm": AlgorithmConfig, "perturbed": PerturbedAlgorithm},
    "regularizer": {"regularizer": RegularizerConfig},
    "diagnostics": {"diagnostics": DiagnosticsConfig},
    "tracker": {"tracker": TrackerConfig},
}


def conf_dir() -> Path:
    """Folder of the YAML files: inside the package when installed from a wheel, beside it in a checkout."""
    package = Path(__file__).parents[1]
    packaged = package / "conf"
    return packaged if packaged.is_dir() else package.parent / "conf"


def default_store() -> str:
    """The store of commands that are not told another: the environment variable OVPNET_STORE, else ./store."""
    return os.environ.get("OVPNET_STORE", "store")


def register_schemas() -> None:
    """Make every schema available to the YAML files as schema/GROUP/NAME, and `Config` as schema/config."""
    from hydra.core.config_store import ConfigStore

    store = ConfigStore.instance()
    store.store(group="schema", name="config", node=Config)
    for group, schemas in SCHEMAS.items():
        for name, schema in schemas.items():
            store.store(group=f"schema/{group}", name=name, node=schema)


# --- checking --------------------------------------------------------------------------------------


def resolve(composed: "DictConfig") -> Config:
    """The composed config as checked dataclasses. Raises ConfigError for the first key that is out of bounds."""
    from omegaconf import OmegaConf

    for name in sorted(OmegaConf.missing_keys(composed)):
        raise ConfigError(name, "???", "a value is needed")
    _check_keys(composed)
    config = OmegaConf.to_object(composed)
    assert isinstance(config, Config)
    check(config)
    return canonical(config)


def canonical(config: Config) -> Config:
    """The config with each key that means nothing to it at one value, so that runs that cannot differ are one run."""
    algorithm, learner, regularizer = config.algorithm, config.learner, config.regularizer
    if algorithm.name == "kernel_ridge":
        algorithm = AlgorithmConfig(name="kernel_ridge")
        config = replace(config, lr=1.0, lr_scaling="none", batch_size=1, steps=1, epochs=None, evaluations=1,
                         dtype="float64")
    if algorithm.decay_at == 1:
        algorithm = _with(algorithm, decay_factor=AlgorithmConfig.decay_factor)
    if isinstance(algorithm, PerturbedAlgorithm):
        multipliers: dict[str, Any] = {f"{name}_multiplier": 1.0 for name in ("rounds", "sigma_w", "sigma_v", "draws")
                                       if getattr(algorithm, name) is not None}
        algorithm = _with(algorithm, name="algorithm2" if algorithm.signs else "algorithm3", **multipliers)
    if learner.name == "two_layer" and learner.trained == "quadratic":
        learner = replace(learner, trained="ntk")  # one function: all its terms are linear
    if learner.name in LIMITS:
        config = _with(config, width=0)
        learner = _with(learner, a_std=1.0) if learner.trained == "last" else learner
    trained = trained_layers(learner)
    weights: dict[str, Any] = {f"weight_{layer}": 1.0 for layer in ("W", "V", "rest")
                               if layer not in trained or getattr(regularizer, layer) == "none"}
    unified: Config = _with(config, algorithm=algorithm, learner=learner, regularizer=_with(regularizer, **weights))
    return unified


def _with(node: Any, **values: Any) -> Any:
    """The node with these values: itself where it has them already, so that the configs of a sweep go on sharing it."""
    same = all(getattr(node, name) is value or getattr(node, name) == value for name, value in values.items())
    return node if same else replace(node, **values)


def check(config: Config) -> None:
    """Raise ConfigError for a value out of its bounds, then for an impossible combination of values."""
    check_bounds(config)
    check_combinations(config)


def check_bounds(config: Config, among: Container[str] | None = None) -> None:
    """Raise ConfigError for the first value out of its bounds; among the values of these dotted keys, if given."""
    keys, values = _keys(_classes(config))
    for (name, metadata), value in zip(keys.items(), values(config), strict=True):
        if among is not None and name not in among:
            continue
        for item in value if isinstance(value, list) else [value]:
            check_value(name, item, metadata)
        if value == []:
            raise ConfigError(name, value, "at least one entry is needed")


def _check_keys(composed: "DictConfig", prefix: str = "") -> None:
    """Raise ConfigError for a key that was added with +KEY=VALUE but that no node has."""
    from omegaconf import OmegaConf

    known = [item.name for item in fields(OmegaConf.get_type(composed) or Config)]
    for name in map(str, composed):
        if name not in known:
            raise ConfigError(f"{prefix}{name}", composed[name], f"no such key; allowed: {', '.join(known)}")
        if is_dataclass(OmegaConf.get_type(composed, name)):
            _check_keys(composed[name], f"{prefix}{name}.")


@cache
def _keys(classes: tuple[type, ...], excluded: tuple[str, ...] = ()) -> tuple[dict[str, Any], Callable[[Any], Any]]:
    """Dotted keys of a config whose nodes are of these classes, in order, each with its metadata; and what reads their
    values. Sweeps ask for them a million times, so the fields are walked over once for each choice of classes."""
    nodes = dict(zip(_NODES, classes, strict=True))
    keys: dict[str, Any] = {}
    for item in fields(Config):
        if item.name in nodes:
            keys |= {f"{item.name}.{each.name}": each.metadata for each in fields(nodes[item.name])}
        else:
            keys[item.name] = item.metadata
    kept = {name: metadata for name, metadata in keys.items() if not _matches(name, excluded)}
    return kept, attrgetter(*kept)


def check_value(name: str, value: Any, metadata: Any) -> None:
    """Raise ConfigError for a value outside the bounds and choices of its key (the metadata that `key` makes)."""
    if value is None:
        return
    low, high, above, choices = (metadata.get(bound) for bound in ("low", "high", "above", "choices"))
    if choices and value not in choices:
        raise ConfigError(name, value, f"not known; allowed: {', '.join(choices)}")
    if metadata.get("printed") and any(unicodedata.category(each) == "Cc" for each in value):
        raise ConfigError(name, ascii(value), "must have no control characters, such as line breaks and tabs")
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(name, value, "must be a finite number")
    if low is not None and value < low:
        raise ConfigError(name, value, f"must be at least {low}")
    if above is not None and value <= above:
        raise ConfigError(name, value, f"must be greater than {above}")
    if high is not None and value > high:
        raise ConfigError(name, value, f"must be at most {high}")


def check_combinations(config: Config) -> None:
    """Raise ConfigError for values that are within their bounds, but cannot be together."""
    _check_kernel_ridge(config)
    if isinstance(config.algorithm, PerturbedAlgorithm):
        _check_perturbed(config, config.algorithm)
    else:
        _check_steps(config)
    if config.regularizer.name == "none" and config.weight_decay > 0:
        raise ConfigError("weight_decay", config.weight_decay, "must be 0 with regularizer=none; "
                          "choose regularizer=frobenius for torch's weight decay")
    if config.learner.biases and config.learner.trained in ("last", "all"):
        raise ConfigError("learner.biases", True, f"must be false with learner.trained={config.learner.trained}; it "
                          "belongs to hidden, ntk and quadratic")
    if config.regularizer.name == "table1":
        _check_table1(config)
    else:
        _check_penalties(config.regularizer)
    _check_diagnostics(config)
    _check_concept(config)
    _check_labels(config)


def _check_diagnostics(config: Config) -> None:
    """Refuses only where nothing at all would be measured: a sweep over learners may ask for all of it."""
    diagnostics, trained = config.diagnostics, config.learner.trained
    if diagnostics.measured and config.learner.name in LIMITS:
        raise ConfigError("diagnostics.name", diagnostics.name, f"learner={config.learner.name} has no weights to "
                          "measure; allowed: none")
    if diagnostics.measured and trained == "last" and not diagnostics.saddles:
        raise ConfigError("diagnostics.name", diagnostics.name, "learner.trained=last moves no hidden weight; allowed: "
                          "none, saddles, all")


def _check_steps(config: Config) -> None:
    one_pass = config.algorithm.sampling == "one_pass"
    if one_pass and (config.steps is not None or config.epochs is not None):
        given = "steps" if config.steps is not None else "epochs"
        raise ConfigError(given, getattr(config, given), "algorithm.sampling=one_pass uses every sample once, so the "
                          "steps are samples / batch_size; give steps=null epochs=null")
    if not one_pass and (config.steps is None) == (config.epochs is None):
        raise ConfigError("steps", config.steps, f"give exactly one of steps and epochs (epochs={config.epochs})")
    if one_pass and config.batch_size > config.samples:
        raise ConfigError("batch_size", config.batch_size, f"must be at most samples ({config.samples}) "
                          "with algorithm.sampling=one_pass")


def _check_perturbed(config: Config, algorithm: PerturbedAlgorithm) -> None:
    learner, of = config.learner, f"with algorithm={algorithm.name}"
    allowed: list[tuple[str, Any, tuple[Any, ...]]] = [
        ("learner.name", learner.name, ("three_layer",)), ("learner.trained", learner.trained, ("hidden", "quadratic")),
        ("learner.biases", learner.biases, (False,)), ("algorithm.momentum", algorithm.momentum, (0,)),
        ("algorithm.judged", algorithm.judged, ("last",)),
        ("algorithm.sampling", algorithm.sampling, ("replacement", "shuffle"))]
    for name, value, values in allowed:
        if value not in values:
            raise ConfigError(name, value, f"{of}; allowed: {', '.join(map(str, values))}")
    for name in ("steps", "epochs"):
        if getattr(config, name) is not None:
            raise ConfigError(name, getattr(config, name), f"must be null {of}, which takes algorithm.rounds x "
                              "algorithm.inner_steps steps")
    if algorithm.lambda_rate is None and step_size(config) >= 1:
        raise ConfigError("lr", config.lr, f"eta = {step_size(config):g} must be less than 1 with "
                          "algorithm.lambda_rate=null, which decays lambda by it")
    if algorithm.C0 is None and not isinstance(config.concept, ThreeLayerConcept | CosExpConcept | Figure1Concept):
        raise ConfigError("algorithm.C0", None, f"concept={config.concept.family} is no three-layer concept with power "
                          "series, whose complexities make C0; give a number")
    if algorithm.C0 is None:
        _check_complexity(config.concept)


def _check_complexity(concept: ConceptConfig) -> None:
    """Raise ConfigError where the concept has no complexity to make C0 of."""
    if not isinstance(concept, ThreeLayerConcept | CosExpConcept | Figure1Concept):
        raise ConfigError("algorithm.C0", None, f"concept={concept.family} is no three-layer concept with power "
                          "series, whose complexities make C0; give a number")
    for name in ("outer", "phi1", "phi2") if isinstance(concept, ThreeLayerConcept) else ():
        for activation in {"tanh", "sigmoid"}.intersection(getattr(concept, name)):
            raise ConfigError("algorithm.C0", None, f"the power series of concept.{name}={activation} does not "
                              "converge everywhere, as the complexities that make C0 need; give a number")


def _check_penalties(regularizer: RegularizerConfig) -> None:
    """A layer may be left out of what the regularizer's name says, and nothing else."""
    for layer in ("W", "V", "rest"):
        kind = getattr(regularizer, layer)
        if kind not in ("none", regularizer.name):
            raise ConfigError(f"regularizer.{layer}", kind, f"allowed with regularizer={regularizer.name}: "
                              + ", ".join(dict.fromkeys([regularizer.name, "none"])))


def _check_table1(config: Config) -> None:
    if not isinstance(config.algorithm, PerturbedAlgorithm):
        raise ConfigError("regularizer.name", "table1", "its coefficients come from algorithm.eps0 and algorithm.C0; "
                          "allowed with algorithm=algorithm2, algorithm3")
    for name, value in (("of", "increments"), ("W", "row_24"), ("V", "frobenius")):
        if getattr(config.regularizer, name) != value:
            raise ConfigError(f"regularizer.{name}", getattr(config.regularizer, name),
                              f"must be {value} with regularizer=table1")


def _check_kernel_ridge(config: Config) -> None:
    learner, algorithm, regularizer = config.learner, config.algorithm, config.regularizer
    limit = learner.name in LIMITS
    if config.width == 0 and not limit:
        raise ConfigError("width", 0, f"must be at least 1; infinite width is learner={learner.name}_limit")
    if algorithm.name != "kernel_ridge":
        if limit:
            raise ConfigError("algorithm.name", algorithm.name, f"learner={learner.name} has no weights for SGD; "
                              "allowed: kernel_ridge")
        return
    if learner.trained not in ("last", "ntk"):
        raise ConfigError("learner.trained", learner.trained, "algorithm=kernel_ridge needs a learner that is linear "
                          "in what it trains; allowed: last, ntk")
    if config.loss.name != "l2":
        raise ConfigError("loss.name", config.loss.name, "algorithm=kernel_ridge minimizes squares; allowed: l2")
    if learner.trained == "ntk" and config.concept.k > 1:
        raise ConfigError("concept.k", config.concept.k, "must be 1 with algorithm=kernel_ridge learner.trained=ntk")
    if algorithm.sampling == "one_pass":
        raise ConfigError("algorithm.sampling", "one_pass", "algorithm=kernel_ridge fits the whole training set at "
                          "once; leave it at replacement")
    if algorithm.judged == "average":
        raise ConfigError("algorithm.judged", "average", "algorithm=kernel_ridge has no iterates; allowed: last")
    layers = trained_layers(learner)
    for layer in layers:
        kind, weight = getattr(regularizer, layer), getattr(regularizer, f"weight_{layer}")
        if kind == "row_24":
            raise ConfigError(f"regularizer.{layer}", kind, "algorithm=kernel_ridge minimizes squares; allowed: "
                              "frobenius, none")
        if kind != getattr(regularizer, layers[0]):
            raise ConfigError(f"regularizer.{layer}", kind, "algorithm=kernel_ridge needs one kind of penalty for all "
                              f"that is trained; regularizer.{layers[0]} is {getattr(regularizer, layers[0])}")
        if weight == 0:
            raise ConfigError(f"regularizer.weight_{layer}", weight, "must be greater than 0 with "
                              "algorithm=kernel_ridge")
        if limit and weight != 1:
            raise ConfigError(f"regularizer.weight_{layer}", weight, f"must be 1 with learner={learner.name}; "
                              "scale weight_decay")


def trained_layers(learner: LearnerConfig) -> tuple[str, ...]:
    """What a learner trains, in the names of the regularizer's keys."""
    if learner.trained == "last":
        return ("rest",)
    matrices = ("W",) if learner.name.startswith("two_layer") else ("W", "V")
    return (*matrices, "rest") if learner.biases or learner.trained == "all" else matrices


def _check_concept(config: Config) -> None:
    from ovpnet.problem.concepts.domain import check_domain  # which imports the nodes above

    check_domain(config.concept, config.dtype)
    concept, d = config.concept, config.inputs.d
    if isinstance(concept, Figure1Concept | Figure2Concept) and (d != 4 or concept.k != 1):
        raise ConfigError("inputs.d" if d != 4 else "concept.k", d if d != 4 else concept.k,
                          f"concept={concept.family} is a function of 4 inputs with 1 output")
    if isinstance(concept, ParityConcept | CosExpConcept) and concept.k != 1:
        raise ConfigError("concept.k", concept.k, f"concept={concept.family} has 1 output")
    if isinstance(concept, ParityConcept) and concept.sparsity > d:
        raise ConfigError("concept.sparsity", concept.sparsity, f"must be at most inputs.d ({d})")


def _check_labels(config: Config) -> None:
    loss, k, noise = config.loss.name, config.concept.k, config.noise
    classes = isinstance(config.loss, ClassificationLoss)
    if loss == "logistic" and k != 1:
        raise ConfigError("concept.k", k, "loss=logistic has two classes and 1 output; use loss=cross_entropy for more")
    if loss == "cross_entropy" and k < 2:
        raise ConfigError("concept.k", k, "loss=cross_entropy needs one output per class: at least 2")
    if isinstance(config.concept, RandomLabelsConcept) and getattr(config.loss, "labels", "") == "hard":
        raise ConfigError("loss.labels", "hard", "the most likely label of F* = 0 is always the same; concept="
                          "random_labels needs loss.labels=sample")
    if noise.kind == "none" and noise.level > 0:
        raise ConfigError("noise.level", noise.level, "must be 0 with noise=none")
    if classes and noise.kind in ("gaussian", "uniform"):
        raise ConfigError("noise.kind", noise.kind, f"labels of loss={loss} are classes; allowed: none, flip")
    if noise.kind == "flip" and not classes:
        raise ConfigError("noise.kind", "flip", f"labels of loss={loss} are numbers; allowed: none, gaussian, uniform")
    if noise.kind == "flip" and noise.level > 1:
        raise ConfigError("noise.level", noise.level, "a probability: at most 1")


# --- identity --------------------------------------------------------------------------------------


def step_size(config: Config) -> float:
    """eta before any decay: lr, or lr / m."""
    return config.lr / config.width if config.lr_scaling == "inverse_width" else config.lr


def lambda_rate(config: Config, algorithm: PerturbedAlgorithm) -> float:
    """The part of lambda that a round of Algorithm 2 or 3 takes away, where it decays."""
    return step_size(config) if algorithm.lambda_rate is None else algorithm.lambda_rate


def rounds(config: Config, algorithm: PerturbedAlgorithm) -> int:
    """T, the rounds of Algorithms 2 and 3: given, or Theta(log(log(m1 m2) / eps0) / rate)."""
    if algorithm.rounds is not None:
        return algorithm.rounds
    logarithm = math.log(max(1.0, 2 * math.log(config.width)) / algorithm.eps0)
    return math.ceil(algorithm.rounds_multiplier * logarithm / lambda_rate(config, algorithm))


def total_steps(config: Config) -> int:
    """The number of SGD steps of a run."""
    if isinstance(config.algorithm, PerturbedAlgorithm):
        return rounds(config, config.algorithm) * config.algorithm.inner_steps
    if config.algorithm.sampling == "one_pass":
        return config.samples // config.batch_size
    if config.steps is not None:
        return config.steps
    assert config.epochs is not None
    return math.ceil(config.epochs * config.samples / config.batch_size)


def flat(config: Any, excluded: tuple[str, ...] = ()) -> dict[str, Any]:
    """The config as one level of dotted keys, but for the excluded keys and nodes; lists stay lists."""
    keys, values = _keys(_classes(config), excluded)
    return dict(zip(keys, values(config), strict=True))


def identity(config: Config, excluded: tuple[str, ...] = ()) -> dict[str, Any]:
    """Every dotted key that can change the run's numbers, with the steps that epochs amount to; but for the excluded.

    Epochs are kept too: a run of 40 epochs belongs to a study in which the steps follow the samples, and one of as many
    steps to another.
    """
    unmeasured = () if config.diagnostics.measured else ("diagnostics",)
    kept = flat(config, (*NOT_IDENTITY, *unmeasured, *excluded))
    epochs = {} if config.epochs is None else {"epochs": config.epochs}
    return kept | {"steps": total_steps(config)} | epochs


def run_id(config: Config) -> str:
    """12 hexadecimal digits; equal for two configs exactly when their identities are equal."""
    return digest(identity(config))


def signature(config: Config) -> tuple[tuple[str, Any], ...]:
    """Static signature: runs that agree on it can be trained as one ensemble."""
    return tuple((name, tuple(value) if isinstance(value, list) else value)
                 for name, value in identity(config, PER_MEMBER).items())


def digest(content: dict[str, Any]) -> str:
    """Short hash of a flat dictionary, independent of the order of its keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


def _matches(name: str, keys: Sequence[str]) -> bool:
    return any(name == each or name.startswith(f"{each}.") for each in keys)
