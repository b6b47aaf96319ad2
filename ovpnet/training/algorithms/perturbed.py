"""Algorithms 2 and 3 (Sections 4.2, 6.1): the choices. `ovpnet.training.perturbation` draws for their steps."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from ovpnet.spec.choices import Algorithm, algorithm, with_values
from ovpnet.spec.errors import ConfigError
from ovpnet.spec.keys import key

if TYPE_CHECKING:
    import numpy as np

    from ovpnet.spec.config import Config
    from ovpnet.training.table1 import Table1

# Noise draws at the end, at most, if their number follows from eps0: each one costs m^2 random numbers and a pass over
# the training set.
MOST_DRAWS = 1000


@dataclass
class Perturbed(Algorithm):
    """Algorithms 2 and 3: noisy SGD on the smoothed objective of (W', V') = (W - W0, V - V0),

        L( lambda F(x; W0 + W^rho + Sigma W', V0 + V^rho + V' Sigma), y ) + R( sqrt(lambda) W', sqrt(lambda) V' ),

    T rounds of T_w steps, with lambda <- (1 - rate) lambda between rounds. Every step draws new Gaussian noise W^rho,
    V^rho and, in Algorithm 2, new signs Sigma. In the end the noise draw of least training loss gives the weights.
    """

    signs: bool = key(True, "random signs Sigma (Algorithm 2); false: none (Algorithm 3)")
    eps0: float = key(0.1, "the theorems' precision eps0, in units of the loss; sets rounds, draws and Table 1",
                      low=1e-12, high=0.999999, per_member=True)
    C0: float | None = key(1.0, "Table 1's C0. The theorems' own value is astronomically large, which switches the "
                           "penalty of W off; null = that value, of the concept's complexities at C_star", low=1e-12,
                           per_member=True)
    inner_steps: int = key(20, "T_w, SGD steps per round; the run takes rounds x inner_steps", low=1, per_member=True)
    rounds: int | None = key(None, "T; null = rounds_multiplier x log(log(m1 m2) / eps0) / lambda_rate", low=1,
                             per_member=True)
    rounds_multiplier: float = key(1.0, "constant in T; 1 takes lambda down to eps0 / log(m1 m2)", above=0,
                                   per_member=True)
    lambda_decay: bool = key(True, "false: lambda stays 1, in as many rounds", per_member=True)
    lambda_rate: float | None = key(0.05, "lambda <- (1 - lambda_rate) lambda after a round; null = eta, as the "
                                    "paper has it: then the rounds grow as 1/eta = m / lr", above=0, high=0.999999,
                                    per_member=True)
    sigma_w: float | None = key(None, "standard deviation of W^rho's entries; null = sigma_w_multiplier x Table 1's; "
                                "0 = no smoothing", low=0, per_member=True)
    sigma_v: float | None = key(None, "standard deviation of V^rho's entries; null = sigma_v_multiplier x Table 1's; "
                                "0 = no smoothing", low=0, per_member=True)
    sigma_w_multiplier: float = key(1.0, "see sigma_w", low=0, per_member=True)
    sigma_v_multiplier: float = key(1.0, "see sigma_v", low=0, per_member=True)
    iterate_noise: float = key(1e-4, "standard deviation of the Gaussian noise added to every entry of W and V after "
                               "each step; 0 = none", low=0, per_member=True)
    draws: int | None = key(None, "noise draws that the end chooses from; null = draws_multiplier / eps0^2, at most "
                            f"{MOST_DRAWS} (and 1 without smoothing)", low=1, per_member=True)
    draws_multiplier: float = key(1.0, "see draws", above=0, per_member=True)

    iterative = True
    perturbed = True

    def total_steps(self, config: "Config") -> int:
        return self.total_rounds(config) * self.inner_steps

    def total_rounds(self, config: "Config") -> int:
        """Return T: as given, or Theta(log(log(m1 m2) / eps0) / rate)."""
        if self.rounds is not None:
            return self.rounds
        logarithm = math.log(max(1.0, math.log(config.width) + math.log(config.second_width)) / self.eps0)
        return math.ceil(self.rounds_multiplier * logarithm / self.rate(config))

    @property
    def flips(self) -> bool:
        return self.signs

    def rate(self, config: "Config") -> float:
        return config.step_size if self.lambda_rate is None else self.lambda_rate

    def lambdas(self, config: "Config", start: int, stop: int) -> "np.ndarray":
        """Return lambda [stop - start] of the steps [start, stop): 1 in the first round, (1 - rate) times in each next.

        The output's lambda_T is that of the last step, under which W_T and V_T were trained.
        """
        import numpy as np

        if not self.lambda_decay:
            return np.ones(stop - start)
        decayed: np.ndarray = (1 - self.rate(config)) ** (np.arange(start, stop) // self.inner_steps)
        return decayed

    def table1(self, config: "Config") -> "Table1":
        """Return Table 1 of a run. Raises ConfigError if C0=null and the concept has no finite one."""
        from ovpnet.training.table1 import Table1

        C0 = self.C0
        if C0 is None:
            from ovpnet.problem.complexity import concept_log_C0

            log_C0 = concept_log_C0(config.concept, config.inputs.d, self.eps0, config.C_star)
            C0 = math.exp(log_C0) if log_C0 < 700 else math.inf
        return Table1(config.width, config.second_width, self.eps0, C0)

    def smoothing(self, config: "Config") -> dict[str, float]:
        parameters = self.table1(config)
        return {"W": _given(self.sigma_w, self.sigma_w_multiplier * parameters.sigma_w),
                "V": _given(self.sigma_v, self.sigma_v_multiplier * parameters.sigma_v)}

    def final_draws(self, config: "Config") -> int:
        """Return how many noise draws the end chooses from: Theta(1/eps0^2) if not given, 1 if all would be 0."""
        if self.draws is not None:
            return self.draws
        if not any(self.smoothing(config).values()):
            return 1
        return max(1, min(MOST_DRAWS, round(self.draws_multiplier / self.eps0**2)))

    def penalty_units(self, config: "Config") -> Mapping[str, float]:
        # Table 1's R has ||V'||_F^2, and the penalty `frobenius` half of it.
        parameters = self.table1(config)
        return {"W": parameters.lambda_w, "V": 2 * parameters.lambda_v, "rest": 1.0}

    def check(self, config: "Config") -> None:
        learner, of = config.learner, f"with algorithm={self.name}"
        allowed: list[tuple[str, Any, tuple[Any, ...]]] = [
            ("learner.name", learner.name, ("three_layer",)),
            ("learner.trained", learner.trained, ("hidden", "quadratic")),
            ("learner.biases", learner.biases, (False,)), ("algorithm.momentum", self.momentum, (0,)),
            ("algorithm.judged", self.judged, ("last",)),
            ("algorithm.sampling", self.sampling, ("replacement", "shuffle"))]
        for name, value, values in allowed:
            if value not in values:
                raise ConfigError(name, value, f"{of}; allowed: {', '.join(map(str, values))}")
        for name in ("steps", "epochs"):
            if getattr(config, name) is not None:
                raise ConfigError(name, getattr(config, name), f"must be null {of}, which takes algorithm.rounds x "
                                  "algorithm.inner_steps steps")
        if self.lambda_rate is None and config.step_size >= 1:
            raise ConfigError("lr", config.lr, f"eta = {config.step_size:g} must be less than 1 with "
                              "algorithm.lambda_rate=null, which decays lambda by it")
        if self.C0 is None:
            self._check_complexity(config)

    def _check_complexity(self, config: "Config") -> None:
        """Raise ConfigError if the concept has no complexity to make C0 of."""
        series = config.concept.series(config.inputs.d)
        if series is None or series.outer is None:
            raise ConfigError("algorithm.C0", None, f"concept={config.concept.family} is no three-layer concept with "
                              "power series, whose complexities make C0; give a number")
        for layer in series.layers:
            for phi in layer.distinct:
                if math.isfinite(phi.radius):
                    named = f"{layer.names_key or 'an activation'}={phi.name}"
                    raise ConfigError("algorithm.C0", None, f"the power series of {named} does not converge "
                                      "everywhere, as the complexities that make C0 need; give a number")

    def canonical(self, config: "Config") -> "Config":
        multipliers: dict[str, Any] = {f"{name}_multiplier": 1.0 for name in ("rounds", "sigma_w", "sigma_v", "draws")
                                       if getattr(self, name) is not None}
        chosen: Perturbed = with_values(self, **multipliers)
        if isinstance(chosen, Algorithm2) != self.signs:  # signs were switched on or off: it is the other algorithm
            other = Algorithm2 if self.signs else Algorithm3
            values = {item.name: getattr(chosen, item.name) for item in fields(chosen)}
            chosen = other(**values | {"name": other.name})
        return super(Perturbed, chosen).canonical(with_values(config, algorithm=chosen))


@algorithm("algorithm2")
class Algorithm2(Perturbed):
    """Algorithm 2: with random signs Sigma."""


@algorithm("algorithm3")
class Algorithm3(Perturbed):
    """Algorithm 3: without the signs Sigma, though the theorem's N then grows with m."""

    signs: bool = key(False, "random signs Sigma (Algorithm 2); false: none (Algorithm 3)")


def _given(value: float | None, default: float) -> float:
    return default if value is None else value
