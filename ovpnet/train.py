"""`ovpnet train`: train one run, or with -m a sweep of runs, and keep them in the store."""

import sys
from typing import TYPE_CHECKING

from ovpnet.terminal.packages import enter

if __name__ == "__main__":  # `python -m ovpnet.train`
    enter()

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from ovpnet.spec.errors import InterruptionError, OvpnetError
from ovpnet.spec.identity import run_id
from ovpnet.spec.schemas import conf_dir, register_schemas, resolve
from ovpnet.terminal.choices import register_choices
from ovpnet.terminal.compact import compact
from ovpnet.terminal.pipe import broken_pipe_ends

if TYPE_CHECKING:
    from ovpnet.record.store import Store

register_schemas()
register_choices()


@hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="config")
@compact
def main(composed: DictConfig) -> None:
    """Train one run. (With -m Hydra calls the sweeper and launcher of `launch` instead.)"""
    from ovpnet.record.store import Store  # pandas, for which --help and the Tab key need not wait

    config = resolve(composed)
    sweeper, choices = HydraConfig.get().sweeper, HydraConfig.get().runtime.choices
    if sweeper.get("params") or sweeper.get("grids") or choices["hydra/sweeper"] == "bisect_samples":
        print("note: this study is a sweep, and without -m only one run of it is trained", file=sys.stderr)
    store = Store(config.store)
    store.prepare()
    if run_id(config) in store.finished():
        print(f"run {run_id(config)} is in {store.path} already; nothing to train")
    else:
        from ovpnet.run.interruption import interruptions
        from ovpnet.run.pack import run_pack  # imports torch, which a finished run need not wait for
        from ovpnet.terminal.progress import Progress

        with interruptions() as interrupted, Progress(runs=1, work=config.total_steps) as progress:
            run_pack([config], progress.advance, interrupted)
            progress.finish(1)
    for message in store.skipped:
        print(message, file=sys.stderr)
    print(summary(store, run_id(config)))


def summary(store: "Store", run: str) -> str:
    """Return what came out of a stored run, in a line or two. Raises OvpnetError, with the traceback, if it failed."""
    import pandas as pd

    runs = store.runs()
    row = runs[runs["run_id"] == run].iloc[0]
    if row["status"] == "failed":
        raise OvpnetError(f"{row['traceback'] or ''}run {run} failed ({row['failure']}): {row['error']}")
    goal = f"OPT + epsilon = {row['opt']:.4g} + {row['epsilon_absolute']:.4g}"
    if row["status"] == "diverged":
        return f"run {run} diverged: its weights are no longer finite numbers; try a smaller lr ({goal})"
    verdict = "reached" if row["reached"] else "not reached"
    if pd.notna(row["reached_step"]):
        verdict += f", first at step {row['reached_step']:.0f}"
    return f"run {run}: test risk {row['test_risk']:.4g} +- {row['test_risk_se']:.2g}; {goal}: {verdict}"


def cli() -> None:
    """Run `main`, and tell an interruption by the user in one line."""
    try:
        main()
    except KeyboardInterrupt as interruption:
        kept = ", and a checkpoint of what was in training" if isinstance(interruption, InterruptionError) else ""
        print(f"\ninterrupted; every finished run is in the store{kept}: the same command continues", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    with broken_pipe_ends():
        cli()
