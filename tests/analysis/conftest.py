"""Synthetic stores: runs whose sample complexity follows a known law."""

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from ovpnet import config

WIDTHS = (64, 256, 1024, 4096)
SAMPLES = tuple(round(100 * 1.25**step) for step in range(24))


def base_row(*overrides: str) -> dict[str, Any]:
    """The flat config columns of a run as the store writes them."""
    config.register_schemas()
    with initialize_config_dir(str(config.conf_dir()), version_base="1.3"):
        flat = config.flat(OmegaConf.to_object(compose("config", overrides=list(overrides))))
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


@pytest.fixture
def make_runs() -> Callable[..., pd.DataFrame]:
    return synthetic_runs
