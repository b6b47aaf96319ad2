"""Which engine trains a run: decided by its own config, so that it does not depend on what it is packed with."""

from ovpnet.spec.config import Config

# Weights of a neuron that the compiled loop of two-layer nets has room for.
MOST_FUSED_INPUTS = 256
# A step of the reference engine reads or writes every activation of a sample about this many times, a fused one once.
_PASSES = 10
# Steps between two looks of the dual engine at the weights, about.
_CHUNK_STEPS = 512
# Entries of a kernel [N, N], and of the activations [N, m] that it is made of, at most.
_ENTRIES = 1 << 28


def chosen_engine(config: Config) -> str:
    """`reference`, `fused` or `dual`: what the key `engine` asks for, where it can; `auto` takes the fastest one."""
    fused = fused_lacks(config) is None
    match config.engine:
        case "dual" if dual_lacks(config) is None:
            return "dual"
        case "fused" if fused:
            return "fused"
        case "auto" if dual_lacks(config) is None and _dual_pays(config, 1 if fused else _PASSES):
            return "dual"
        case "auto" if fused:
            return "fused"
    return "reference"


def lacks(config: Config) -> str | None:
    """What of the run the engine it asks for has no form for; None if it covers it."""
    return {"dual": dual_lacks, "fused": fused_lacks}.get(config.engine, lambda _: None)(config)


def fused_lacks(config: Config) -> str | None:
    """What of the run the fused engine has no form for; None if it covers it."""
    learner, trained = config.learner, config.learner.trained
    if not config.algorithm.iterative:
        return "algorithm=kernel_ridge, which takes no steps"
    if config.algorithm.perturbed:
        return f"algorithm={config.algorithm.name}"
    if config.width2 is not None:
        return f"width2={config.width2}"
    if trained == "all":
        return "learner.trained=all"
    if config.concept.k > 1:
        return f"concept.k={config.concept.k}"
    if learner.name == "two_layer" and config.inputs.d > MOST_FUSED_INPUTS:
        return f"inputs.d={config.inputs.d}"
    if trained == "last" and config.regularizer.rest == "row_24":
        return "regularizer=row_24 with learner.trained=last"
    if config.algorithm.judged == "average" and config.algorithm.sampling != "one_pass":
        return "algorithm.judged=average"
    return None


def dual_lacks(config: Config) -> str | None:
    """What of the run the dual engine has no form for; None if it covers it."""
    trained, regularizer = config.learner.trained, config.regularizer
    if not config.algorithm.iterative:
        return "algorithm=kernel_ridge, which takes no steps"
    if trained not in ("last", "ntk"):
        return f"learner.trained={trained}"
    if trained == "ntk" and config.concept.k > 1:
        return f"concept.k={config.concept.k} with learner.trained=ntk"
    layers = config.learner.trained_layers
    if any(getattr(regularizer, layer) == "row_24" for layer in layers):
        return f"regularizer={regularizer.name}"
    if len({(getattr(regularizer, layer), getattr(regularizer, f"weight_{layer}")) for layer in layers}) > 1:
        return "different regularizers of the layers"
    if config.algorithm.judged == "average" and config.algorithm.sampling != "one_pass":
        return "algorithm.judged=average"
    return None


def _dual_pays(config: Config, passes: int) -> bool:
    """Whether the kernel, its rows for every step and the weights after every chunk take less than all the steps'
    activations, each taken `passes` times; by counts of multiplications and of numbers read."""
    N, m, B, T = config.samples, config.width, config.batch_size, config.total_steps
    activations = m * (config.inputs.d + (config.second_width if config.learner.name == "three_layer" else 0))
    primal = T * B * passes * activations
    dual = N**2 * m + (1 + T / _CHUNK_STEPS) * N * _PASSES * activations + T * B * N
    return dual < primal and N * max(N, m) <= _ENTRIES
