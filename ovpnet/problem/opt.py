"""The empirical OPT: the least population risk in the concept class, which the learner is judged against.

If the target is optimal for its own labels, OPT is the risk of the target itself (the label noise). If the labels come
from outside the class (agnostic learning), it is the held-out risk of the best fit of the class. It depends on the
problem alone, so a store keeps it for every run and job.
"""

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from ovpnet.problem.concepts.two_layer import TwoLayer
from ovpnet.problem.data import Problem
from ovpnet.problem.means import Mean, means
from ovpnet.problem.streams import Stream, generator
from ovpnet.record.store import Store
from ovpnet.spec.choices import Concept
from ovpnet.spec.config import Config
from ovpnet.spec.identity import opt_id, problem_identity

_BLOCK = 1 << 16  # samples at a time
_BATCH = 256  # samples per step of the fit


@dataclass(frozen=True)
class Opt:
    """OPT of one problem."""

    opt_id: str
    opt: float  # OPT, in units of the loss
    opt_se: float  # its standard error; 0 if a closed form gives it
    opt_method: str  # noise | fit
    opt_monte_carlo: float  # the same by Monte Carlo on fresh samples
    opt_monte_carlo_se: float
    second_moment: float  # E ||y||^2


def empirical_opt(config: Config, store: Store) -> Opt:
    """Return OPT of the config's problem: read from the store, or computed and kept there. Raises StoreError."""
    kept = store.read_opt(opt_id(config))
    if kept is not None:
        return Opt(**{name: kept[name] for name in Opt.__dataclass_fields__})
    opt = compute_opt(config)
    store.write_opt(opt.opt_id, asdict(opt) | {"problem": str(problem_identity(config)), "settings": str(config.opt)})
    return opt


def compute_opt(config: Config) -> Opt:
    """Compute OPT by the method that the config asks for."""
    problem, name = Problem(config), opt_id(config)
    loss = config.loss.value
    own, second_moment = Mean(), Mean()
    for block, start in enumerate(range(0, config.opt.samples, _BLOCK)):
        x, y = problem.sample(config.concept.seed, Stream.OPT, min(_BLOCK, config.opt.samples - start), block)
        for mean, values in ((own, loss(problem.target(x), y)), (second_moment, y.square().sum(-1))):
            mean.add(means(values[None])[0])
    method = config.opt.method
    if method == "auto":
        method = "noise" if target_is_optimal(config) else "fit"
    if method == "fit":
        risk = _fit(config, problem)
        return Opt(name, risk.mean, risk.se, method, risk.mean, risk.se, second_moment.mean)
    exact = noise_risk(config)
    opt, se = (own.mean, own.se) if exact is None else (exact, 0.0)
    return Opt(name, opt, se, method, own.mean, own.se, second_moment.mean)


def target_is_optimal(config: Config) -> bool:
    """Tell whether the target is in the class and no other function has less risk on its noisy labels.

    This holds for zero-mean symmetric additive noise, and for classes drawn with the probabilities that the loss
    assigns to F*. It does not hold for hard or flipped classes (a steeper F does better), nor for targets outside the
    class. Random labels are always best predicted by F* = 0, which is in every class.
    """
    if config.concept.pure_noise:
        return True
    flips = config.loss.classes and config.noise.variance != 0
    return config.loss.target_is_optimal and not flips and config.concept.in_class


def noise_risk(config: Config) -> float | None:
    """Return E L(F*(x), y) in closed form, or None if there is no simple one."""
    k, noise = config.concept.k, config.noise
    if config.loss.classes:
        return None
    if config.concept.pure_noise:
        return float(k) if config.loss.square and noise.variance == 0 else None
    if noise.variance == 0:
        return 0.0
    if not config.loss.square or noise.variance is None:
        return None
    return k * noise.level**2 * noise.variance


def _fit(config: Config, problem: Problem) -> Mean:
    """Return the held-out risk of the best fit of the class: projected Adam from random restarts, side by side.

    One sample is fitted, a second chooses the restart and a third measures its risk. So the estimate is unbiased for
    the function found, and an upper bound on OPT up to its standard error.
    """
    options, loss = config.opt, config.loss
    fitted = fitted_class(config)
    samples = [problem.sample(config.concept.seed, Stream.OPT, options.fit_samples, 1 << 20 | part)
               for part in range(3)]
    weights = _restarts(fitted, config)
    count = len(next(iter(weights.values())))
    optimizer = torch.optim.Adam([value.requires_grad_() for value in weights.values()], lr=0.05)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, options.steps)
    rng = generator(config.concept.seed, Stream.OPT, 1 << 21)
    x, y = samples[0]
    for _ in range(options.steps):
        index = torch.from_numpy(rng.integers(len(x), size=(count, _BATCH)))
        optimizer.zero_grad()
        # The restarts share nothing, so the gradient of the sum holds the gradient of each.
        loss.value(fitted.evaluate(weights, x[index]), y[index]).mean(-1).sum().backward()
        optimizer.step()
        decay.step()
        with torch.no_grad():
            for name, value in fitted.project(weights).items():
                weights[name].copy_(value)
    with torch.no_grad():
        best = int(torch.stack([_risk(fitted, weights, samples[1], loss.value, each) for each in range(count)])
                   .mean(-1).argmin())
        return means(_risk(fitted, weights, samples[2], loss.value, best)[None])[0]


def _risk(fitted: Concept, weights: dict[str, Tensor], sample: tuple[Tensor, Tensor], loss: Any,
          restart: int) -> Tensor:
    one = {name: value[restart] for name, value in weights.items()}
    return loss(fitted.evaluate(one, sample[0]), sample[1])


def _restarts(fitted: Concept, config: Config) -> dict[str, Tensor]:
    """Return starting points [R, ...]: random ones, and the target itself if it is in the class that is fitted."""
    d = config.inputs.d
    starts = [fitted.draw(generator(config.concept.seed, Stream.OPT, 1 << 22 | restart), d)
              for restart in range(config.opt.restarts)]
    if fitted == config.concept:
        starts.append(fitted.draw(generator(config.concept.seed, Stream.CONCEPT), d))
    return {name: torch.stack([start[name] for start in starts]) for name in starts[0]}


def fitted_class(config: Config) -> Concept:
    """Return the class that is fitted: the target's own, or (3.1) with opt.p neurons if it has none with weights."""
    concept = config.concept
    if concept.in_class and concept.draw(generator(0, Stream.OPT), config.inputs.d):
        return concept
    return TwoLayer(k=concept.k, p=config.opt.p, activations=config.opt.activations)
