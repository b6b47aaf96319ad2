"""Which engine trains a run: decided by its own config, so that it does not depend on what it is packed with."""

from ovpnet.config import Config, total_steps, trained_layers

# A step of the reference engine reads or writes every activation of a sample about this many times.
_PASSES = 10
# Steps between two looks of the dual engine at the weights, about.
_CHUNK_STEPS = 512
# Entries of a kernel [N, N], and of the activations [N, m] that it is made of, at most.
_ENTRIES = 1 << 28


def chosen_engine(config: Config) -> str:
    """`reference` or `dual`: what the key `engine` asks for, where it can; `auto` takes the faster one."""
    if config.engine == "reference" or dual_lacks(config) is not None:
        return "reference"
    return "dual" if config.engine == "dual" or _dual_pays(config) else "reference"


def dual_lacks(config: Config) -> str | None:
    """What of the run the dual engine has no form for; None if it covers it."""
    trained, regularizer = config.learner.trained, config.regularizer
    if config.algorithm.name == "kernel_ridge":
        return "algorithm=kernel_ridge, which takes no steps"
    if trained not in ("last", "ntk"):
        return f"learner.trained={trained}"
    if trained == "ntk" and config.concept.k > 1:
        return f"concept.k={config.concept.k} with learner.trained=ntk"
    layers = trained_layers(config.learner)
    if any(getattr(regularizer, layer) == "row_24" for layer in layers):
        return f"regularizer={regularizer.name}"
    if len({(getattr(regularizer, layer), getattr(regularizer, f"weight_{layer}")) for layer in layers}) > 1:
        return "different regularizers of the layers"
    if config.algorithm.judged == "average" and config.algorithm.sampling != "one_pass":
        return "algorithm.judged=average"
    return None


def _dual_pays(config: Config) -> bool:
    """Whether the kernel, its rows for every step and the weights after every chunk take less than all the steps'
    activations; by counts of multiplications and of numbers read."""
    N, m, B, T = config.samples, config.width, config.batch_size, total_steps(config)
    activations = m * (config.inputs.d + (m if config.learner.name == "three_layer" else 0))
    reference = T * B * _PASSES * activations
    dual = N**2 * m + (1 + T / _CHUNK_STEPS) * N * _PASSES * activations + T * B * N
    return dual < reference and N * max(N, m) <= _ENTRIES
