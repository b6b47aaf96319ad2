"""Shared fixtures: configs composed by Hydra itself from the project's own YAML."""

from collections.abc import Callable, Iterator

import pytest
from hydra import compose, initialize_config_dir

from ovpnet.config import Config, conf_dir, register_schemas, resolve


@pytest.fixture(scope="session", autouse=True)
def _hydra() -> Iterator[None]:
    register_schemas()
    with initialize_config_dir(str(conf_dir().resolve()), version_base="1.3"):
        yield


@pytest.fixture(scope="session")
def make() -> Callable[..., Config]:
    """make("width=8", "concept=parity") -> checked config, small unless told otherwise."""
    def composed(*overrides: str) -> Config:
        small = ["width=16", "samples=40", "steps=30", "batch_size=10", "evaluations=3", "test.samples=512",
                 "test.curve_samples=256", "opt.samples=4096"]
        keys = {override.split("=")[0] for override in overrides}
        return resolve(compose("config", [*(each for each in small if each.split("=")[0] not in keys), *overrides]))

    return composed
