"""One SLURM cluster for all tests of this folder; each test finds it idle and leaves it so."""

import os
from collections.abc import Iterator

import pytest

from tests.slurm.cluster import Cluster, missing


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    if lack := missing():
        if os.environ.get("OVPNET_REQUIRE_SLURM") == "1":
            pytest.fail(lack)
        pytest.skip(lack)
    with Cluster() as cluster:
        yield cluster


@pytest.fixture(autouse=True)
def idle_cluster(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What this process submits goes to the cluster, and is gone when the test is over."""
    for name in os.environ.keys() - cluster.env.keys():
        monkeypatch.delenv(name)
    for name, value in cluster.env.items():
        monkeypatch.setenv(name, value)
    yield
    cluster.reset()
