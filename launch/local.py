"""Run a sweep here: pack after pack in this process."""

import sys
from collections import Counter
from collections.abc import Sequence
from functools import partial

from launch.plan import Plan, plan
from ovpnet.checkpoint import Checkpoints
from ovpnet.config import Config, run_id
from ovpnet.cost import Machine
from ovpnet.engine_choice import chosen_engine
from ovpnet.errors import ConfigError
from ovpnet.interruption import interruptions
from ovpnet.progress import Progress
from ovpnet.store import Store


def run(configs: Sequence[Config], runs_per_pack: int | None = None) -> list[float | None]:
    """Train what is not in the store yet; test risks of the runs (None where diverged), in the order asked for.

    Every pack is stored as soon as it is trained. Raises ConfigError, StoreError.
    """
    for name in ("store", "checkpoint_minutes", "device", "engine", "study", "tracker"):
        values = {str(getattr(config, name)) for config in configs}
        if len(values) > 1:  # of no run's identity: the runs would be one
            raise ConfigError(name, ", ".join(sorted(values)), "one value a sweep; give a command each")
    store = Store(configs[0].store)
    store.prepare()
    checkpoints = Checkpoints(store.path)
    planned = plan(configs, store.finished(), runs_per_pack, checkpoints.packs(), partial(_machine, configs[0]))
    for message in store.skipped:
        print(message, file=sys.stderr)
    print(_announcement(planned, store))
    if planned.packs:
        _train(planned)
    checkpoints.clean(store.finished())
    rows = store.runs().set_index("run_id")
    print(_summary(planned, rows.loc[list({run_id(config) for config in configs}), "status"].value_counts().to_dict()))
    risks = rows["test_risk"].to_dict()
    return [risks[run_id(config)] for config in configs]


def _machine(config: Config) -> Machine:
    from ovpnet.calibrate import machine  # imports torch, which a finished sweep need not wait for
    from ovpnet.pack import device

    return machine(device(config.device))


def _train(planned: Plan) -> None:
    from ovpnet.pack import run_pack  # imports torch, which a finished sweep need not wait for

    work = sum(pack.seconds for pack in planned.packs)
    with interruptions() as interrupted, Progress(planned.distinct - planned.finished, work) as progress:
        for pack in planned.packs:
            progress.cost = pack.cost
            run_pack(pack.configs, progress.advance, interrupted)
            progress.finish(len(pack.configs))


def _announcement(planned: Plan, store: Store) -> str:
    parts = [f"{planned.distinct} runs"]
    if planned.asked > planned.distinct:
        parts.append(f"({planned.asked - planned.distinct} asked for twice)")
    if planned.finished:
        parts.append(f"of which {planned.finished} are in {store.path} already and are skipped")
    todo = planned.distinct - planned.finished
    if not todo:
        return " ".join(parts) + "; nothing to train"
    engines = Counter(chosen_engine(pack.configs[0]) for pack in planned.packs)
    by = ", ".join(f"{count} by the {name} engine" for name, count in engines.most_common())
    return " ".join(parts) + f"; training {todo} in {len(planned.packs)} packs ({by})"


def _summary(planned: Plan, statuses: dict[str, int]) -> str:
    counts = ", ".join(f"{count} {status}" for status, count in sorted(statuses.items(), reverse=True))
    return f"{planned.distinct} runs: {counts}. Next: python -m analysis verdict"
