"""Synthetic stores: runs whose sample complexity follows a known law."""

import json
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from ovpnet.record.store import Store
from ovpnet.spec import schemas
from ovpnet.spec.identity import flat as flat_config

# Text that would run, were it not escaped.
HOSTILE = "<script>window.hostile = true</script><img src=x onerror='window.hostile = true'>"
WIDTHS = (64, 256, 1024, 4096)
SAMPLES = tuple(round(100 * 1.25**step) for step in range(24))


@cache
def base_row(*overrides: str) -> dict[str, Any]:
    """The flat config columns of a run as the store writes them."""
    schemas.register_schemas()
    with initialize_config_dir(str(schemas.conf_dir()), version_base="1.3"):
        flat = flat_config(OmegaConf.to_object(compose("config", overrides=list(overrides))))
    return {name: json.dumps(value) if isinstance(value, list) else value for name, value in flat.items()}


def synthetic_runs(alpha: float = 0.0, *, overrides: Sequence[str] = (), n_first: float = 900.0, sigma: float = 0.1,
                   widths: Sequence[int] = WIDTHS, samples: Sequence[int] = SAMPLES, seeds: Sequence[int] = range(5),
                   lrs: Sequence[float] = (0.2, 0.5, 1.0), unit: float = 1.0, rng_seed: int = 0) -> pd.DataFrame:
    """Runs with log N_eps = log n_first + alpha log(m / m_0) + N(0, sigma^2); lr = 0.5 is the best of the grid.

    Risk in units of the loss falls as 1/N from OPT = 0.2 unit, through OPT + epsilon at N_eps.
    """
    rng = np.random.default_rng(rng_seed)
    row = base_row(*overrides)
    second_moment, opt = 2.0 * unit, 0.2 * unit
    absolute = row["epsilon"] * (second_moment if row["epsilon_unit"] == "relative" else 1.0)
    rows = []
    for width in widths:
        for seed in seeds:
            n_eps = n_first * (width / widths[0]) ** alpha * np.exp(sigma * rng.normal())
            for n in samples:
                for lr in lrs:
                    excess = absolute * n_eps / n * (1 + 2 * abs(np.log(lr / 0.5)))
                    rows.append({
                        **row, "width": width, "seed": seed, "samples": n, "lr": lr,
                        "run_id": f"{width}-{seed}-{n}-{lr}-{rng_seed}-{alpha}-{'-'.join(overrides)}", "status": "done",
                        "opt": opt, "opt_se": 0.0, "opt_method": "noise", "opt_id": "x",
                        "second_moment": second_moment, "epsilon_absolute": absolute, "threshold": opt + absolute,
                        "test_risk": opt + excess, "test_risk_se": 0.01 * excess, "validation_risk": opt + excess,
                        "validation_risk_se": 0.01 * excess, "excess_risk": excess, "excess_risk_se": 0.01 * excess,
                        "reached": excess <= absolute, "reached_step": None, "reached_samples": None,
                        "train_seconds": 0.5, "pack_id": "p", "ovpnet_version": "0.1",
                        "finished_at": "2026-01-01T00:00:00"})
    return pd.DataFrame(rows)


@pytest.fixture(scope="session")
def make_runs() -> Callable[..., pd.DataFrame]:
    return synthetic_runs


@pytest.fixture(scope="session")
def rich_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store on disk with something of all that a report shows: two problems, learning curves, norms, two weight
    decays, diverged and failed runs, points of Figure 1, and text that would be a script."""
    few = {"samples": [400, 600, 900, 1300, 2000, 3000], "seeds": range(3), "widths": (64, 256, 1024)}
    flat = synthetic_runs(0.0, **few).assign(study=HOSTILE)
    steep = synthetic_runs(0.5, overrides=["concept=parity", "learner=three_layer"], **few)
    steep = pd.concat([steep, steep.assign(weight_decay=0.01, run_id=steep["run_id"] + "-decay",
                                           validation_risk=1.1 * steep["validation_risk"])])
    figure1 = synthetic_runs(0.0, overrides=["concept=figure1", "inputs=normalized_gaussian", "inputs.d=4",
                                             "learner=two_layer"], samples=[1000], seeds=range(2), widths=(100, 1000))
    runs = pd.concat([flat, steep, figure1], ignore_index=True)
    runs["concept.name"] = runs["concept.name"].replace("parity", HOSTILE)
    runs = runs.assign(norm_W=np.sqrt(runs["width"]), norm_ratio=1 + 10 / runs["width"], device_used="CPU, 2 threads",
                       engine_used="fused", failure=None, error=None, reached_step=None, reached_samples=None)
    diverged = runs["lr"].eq(1.0) & runs["width"].eq(64)
    runs.loc[diverged, ["status", "test_risk", "validation_risk"]] = ["diverged", None, None]
    failed = runs["lr"].eq(0.2) & runs["width"].eq(256) & runs["seed"].eq(0) & runs["samples"].eq(400)
    runs.loc[failed, ["status", "test_risk", "validation_risk", "failure", "error"]] = [
        "failed", None, None, "exception", HOSTILE]
    curves = [{"run_id": run.run_id, "step": step, "train_risk": 4.0 / step, "test_risk": run.test_risk + 2.0 / step}
              for run in runs[runs["status"].eq("done") & runs["lr"].eq(0.5)].itertuples()
              for step in range(10, 1001, 10)]
    store = Store(tmp_path_factory.mktemp("rich"))
    store.write_pack(runs.astype(object).where(runs.notna(), None).to_dict("records"), curves)
    return store.path
