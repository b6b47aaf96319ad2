"""Shared fixtures: configs composed by Hydra itself from the project's own YAML."""

import os
from collections.abc import Callable, Iterator

if "PYTEST_XDIST_WORKER" in os.environ:  # tests share the cores as processes; torch looks when it is imported
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from ovpnet.spec.config import Config
from ovpnet.spec.schemas import conf_dir, register_schemas, resolve
from tests.pace import slow_pack

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # Triton's kernels then run on CPU tensors; it looks when it is imported


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Rates of this machine are measured once a session, and not kept after it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OVPNET_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def slow() -> list[str]:
    """Overrides of a pack of two runs that trains for some seconds."""
    return slow_pack()


@pytest.fixture(scope="session")
def composed() -> Callable[..., DictConfig]:
    """composed("width=8") -> what Hydra composes, unchecked."""
    register_schemas()

    def composed(*overrides: str) -> DictConfig:
        with initialize_config_dir(str(conf_dir().resolve()), version_base="1.3"):
            return compose("config", list(overrides))

    return composed


@pytest.fixture(scope="session")
def make(composed: Callable[..., DictConfig]) -> Callable[..., Config]:
    """make("width=8", "concept=parity") -> checked config, small unless told otherwise."""
    def make(*overrides: str) -> Config:
        small = ["width=16", "samples=40", "steps=30", "batch_size=10", "evaluations=3", "test.samples=512",
                 "test.curve_samples=256", "opt.samples=4096"]
        keys = {override.split("=")[0] for override in overrides}
        return resolve(composed(*(each for each in small if each.split("=")[0] not in keys), *overrides))

    return make
