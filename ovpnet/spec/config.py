"""The configuration of a run: `Config` and its nodes, which Hydra composes from the YAML in conf/."""

from dataclasses import dataclass, field, fields, is_dataclass

from ovpnet.spec.activation import ACTIVATIONS
from ovpnet.spec.choices import Algorithm, Concept, Inputs, Learner, Loss, Noise, Regularizer
from ovpnet.spec.diagnostic import DIAGNOSTICS, Diagnostic
from ovpnet.spec.keys import LARGEST_SEED, MISSING, key
from ovpnet.spec.registry import names_in


@dataclass
class RiskConfig:
    """The precision of the measured population risk (validation risk likewise, on its own fresh sample)."""

    se: float = key(0.05, "fresh samples are drawn until the standard error of the risk is at most this fraction of "
                    "the larger of epsilon and the excess risk", above=0)
    samples: int = key(8192, "samples drawn at a time", low=2)
    curve_samples: int = key(2048, "samples for each point of the learning curve", low=2)
    max_samples: int = key(1 << 20, "samples drawn at most", low=2)


@dataclass
class DiagnosticsConfig:
    """Measurements along training besides risks, at every point of the learning curve; none by default.

    The columns are explained below. What has no meaning for a learner is null.
    """

    name: str = key("none", "label; not part of the run's identity", identity=False)
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
                                "if it has none Table 1's m^-0.99", above=0)
    sigma_v: float | None = key(None, "standard deviation of the smoothing noise V^rho; null = the algorithm's own, or "
                                "if it has none Table 1's m^-0.51", above=0)
    saddle_gradient: float = key(0.3, "at a saddle point the smoothed objective's gradient norm is at most this times "
                                 "the unsmoothed one's at initialization (where Sigma makes the smoothed one's 0)",
                                 above=0)
    saddle_curvature: float = key(0.01, "at a saddle point the curvature is at most minus this times the Hessian's "
                                  "largest eigenvalue", above=0)
    escape_fraction: float = key(0.1, "a saddle point is escaped when the training objective has fallen by this "
                                 "fraction since", above=0, high=1)

    @property
    def measured(self) -> bool:
        """True if anything is measured."""
        return any(getattr(self, name) for name in DIAGNOSTICS.names())

    def chosen(self) -> list[Diagnostic]:
        """Return the diagnostics that are switched on, in the order of their keys."""
        known = DIAGNOSTICS.names()
        return [DIAGNOSTICS[item.name]() for item in fields(self) if item.name in known and getattr(self, item.name)]


@dataclass
class OptConfig:
    """The way in which the empirical OPT is found."""

    method: str = key("auto", "`noise`: the target's own risk; `fit`: best fit of the concept class; "
                      "`auto`: noise if the target is optimal and in the class, else fit",
                      choices=("auto", "noise", "fit"), per_member=True)
    samples: int = key(1 << 20, "samples of the Monte Carlo estimate of the target's own risk", low=2, per_member=True)
    fit_samples: int = key(20_000, "samples that the class is fitted on; as many again choose the restart, and as "
                           "many again measure its risk", low=100, per_member=True)
    restarts: int = key(8, "random restarts of the fit", low=1, per_member=True)
    steps: int = key(2_000, "optimization steps of the fit", low=1, per_member=True)
    p: int = key(8, "size of the two-layer class (3.1) fitted to a target that has no class of its own", low=1,
                 per_member=True)
    activations: list[str] = key(["sin", "cos"], "its activations, cycled", choices=ACTIVATIONS.names, per_member=True)


@dataclass
class TrackerConfig:
    """The tracker that runs are reported to, besides the store."""

    name: str = key("none", "tracker", choices=("none", "wandb"), identity=False)
    project: str = key("ovpnet", "W&B project", identity=False)
    entity: str | None = key(None, "W&B entity; null = your default", identity=False)
    mode: str = key("auto", "`online`: jobs report after every pack; `offline`: jobs write nothing for W&B, `ovpnet "
                    "launch sync` uploads from the store; `auto`: online with an API key, else offline",
                    choices=("auto", "online", "offline"),
                    identity=False)
    per: str = key("run", "what becomes a W&B run: each `run`; each `pack`, as a table of its runs with mean and "
                   "quantile curves; each study (`sweep`), as a table, which `ovpnet launch sync` alone can make",
                   choices=("run", "pack", "sweep"), identity=False)


@dataclass(slots=True)  # a sweep keeps a million of them: 300 bytes each instead of 1,600
class Config:
    """One run: a member of an ensemble."""

    width: int = key(256, "m, neurons of each hidden layer: at least 1. 0 stands for m = infinity, and is what the "
                     "infinite-width learners make of any width", low=0, high=100_000_000)
    width2: int | None = key(None, "m2, neurons of the second hidden layer (learner=three_layer), beside m1 = width; "
                             "null = width, in every run of a sweep", low=1, high=100_000_000, added=None)
    samples: int = key(400, "N, size of the training set", low=1, per_member=True)
    seed: int = key(0, "seed of everything random in a run but the target itself", low=0, high=LARGEST_SEED,
                    per_member=True)
    epsilon: float = key(0.1, "a run reaches its goal when its test risk is at most OPT + epsilon", above=0,
                         per_member=True)
    epsilon_unit: str = key("relative", "epsilon times E||y||^2 (`relative`), or in units of the loss (`absolute`)",
                            choices=("relative", "absolute"), per_member=True)
    lr: float = key(0.5, "learning rate eta, in units set by lr_scaling", above=0, per_member=True)
    lr_scaling: str = key("inverse_width", "`inverse_width`: eta = lr / m (Theorem 1), so one grid serves all widths; "
                          "m is `width`, whatever width2; `none`: eta = lr", choices=("inverse_width", "none"),
                          per_member=True)
    weight_decay: float = key(0.0, "coefficient of the regularizer", low=0, per_member=True)
    batch_size: int = key(50, "samples per step", low=1)
    steps: int | None = key(None, "number of SGD steps T; give steps or epochs", low=1)
    epochs: float | None = key(None, "passes over the training set; give steps or epochs", above=0, identity=False)
    evaluations: int = key(20, "points of the learning curve, evenly spread over the steps", low=1)
    C_star: float = key(1e4, "the constant C* of the concept's complexities C_s and C_eps (Section 2), which are "
                        "recorded beside the results", above=0, per_member=True)
    dtype: str = key("float32", "precision of training", choices=("float32", "float64"))
    concept: Concept = MISSING
    inputs: Inputs = MISSING
    noise: Noise = MISSING
    loss: Loss = MISSING
    learner: Learner = MISSING
    algorithm: Algorithm = MISSING
    regularizer: Regularizer = MISSING
    test: RiskConfig = field(default_factory=RiskConfig)
    opt: OptConfig = field(default_factory=OptConfig)
    diagnostics: DiagnosticsConfig = MISSING
    # Below: nothing that can change a number.
    engine: str = key("auto", "training engine: `reference`, batched PyTorch; `fused`, all steps in compiled loops; "
                      "`dual`, the same iterates of learners that are linear in what is trained (last, ntk), through "
                      "their kernel; `auto`, the fastest one that covers the run",
                      choices=lambda: ("auto", *names_in("ovpnet.engine.registry", "ENGINES")),
                      identity=False)
    device: str = key("auto", "`auto` (a GPU if there is one), `cpu`, `cuda` or `cuda:N`", identity=False)
    store: str = key("store", "directory of the run store", printed=True, identity=False)
    checkpoint_minutes: float = key(5.0, "minutes of training between two checkpoints of a pack, in "
                                    "STORE/checkpoints; an interrupted one goes on from the last", low=0,
                                    identity=False)
    study: str = key("default", "label of the study this run was asked for in; the W&B group", identity=False)
    tracker: TrackerConfig = MISSING

    @property
    def second_width(self) -> int:
        """The width m2 of the second hidden layer: width2, or width if that is null. With two layers it is m."""
        return self.width if self.width2 is None else self.width2

    @property
    def step_size(self) -> float:
        """The step size eta before any decay: lr, or lr / m."""
        return self.lr / self.width if self.lr_scaling == "inverse_width" else self.lr

    @property
    def total_steps(self) -> int:
        """The number of SGD steps of the run."""
        return self.algorithm.total_steps(self)


# The keys of Config that are nodes.
NODES = tuple(item.name for item in fields(Config) if is_dataclass(item.type))
