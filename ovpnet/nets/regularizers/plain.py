"""Regularizers of one kind of penalty, and none."""

from typing import TYPE_CHECKING

from ovpnet.spec.choices import Regularizer, regularizer
from ovpnet.spec.errors import ConfigError

if TYPE_CHECKING:
    from ovpnet.spec.config import Config


@regularizer("none")
class NoRegularizer(Regularizer):
    """R = 0."""

    scaled_by_algorithm = False

    def check(self, config: "Config") -> None:
        super().check(config)
        if config.weight_decay > 0:
            raise ConfigError("weight_decay", config.weight_decay, "must be 0 with regularizer=none; choose "
                              "regularizer=frobenius for torch's weight decay")


@regularizer("frobenius")
class FrobeniusRegularizer(Regularizer):
    """||W||_F^2 / 2 of every trained matrix, torch's weight decay."""

    W: str = "frobenius"
    V: str = "frobenius"
    rest: str = "frobenius"

    scaled_by_algorithm = False


@regularizer("row_24")
class Row24Regularizer(Regularizer):
    """||W||_{2,4}^4 of every trained matrix."""

    W: str = "row_24"
    V: str = "row_24"
    rest: str = "row_24"

    scaled_by_algorithm = False
