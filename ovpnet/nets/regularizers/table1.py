"""The regularizer of Algorithms 2 and 3."""

from typing import TYPE_CHECKING

from ovpnet.spec.choices import Regularizer, regularizer
from ovpnet.spec.errors import ConfigError

if TYPE_CHECKING:
    from ovpnet.spec.config import Config


@regularizer("table1")
class Table1Regularizer(Regularizer):
    """lambda_v ||V'||_F^2 + lambda_w ||W'||_{2,4}^4 of the increments, with the lambdas of Table 1."""

    of: str = "increments"
    W: str = "row_24"
    V: str = "frobenius"

    scaled_by_algorithm = True

    def check(self, config: "Config") -> None:
        if not config.algorithm.perturbed:
            config.algorithm.penalty_units(config)  # which raises the error that says what is allowed
        for name, value in (("of", "increments"), ("W", "row_24"), ("V", "frobenius")):
            if getattr(self, name) != value:
                raise ConfigError(f"regularizer.{name}", getattr(self, name), f"must be {value} with "
                                  "regularizer=table1")
