"""Submit once more what is left of a sweep."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import asdict, fields, replace
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from launch.code import snapshot
from launch.display import duration
from launch.launcher import Launcher
from launch.launchers import named
from launch.plan import plan
from launch.scheduler import jobs
from launch.submit import add, submit
from launch.sweep import Sweep, check_private, write_json
from ovpnet.record.checkpoint import Checkpoints
from ovpnet.spec.config import Config
from ovpnet.spec.errors import ConfigError, OvpnetError
from ovpnet.spec.identity import run_id
from ovpnet.terminal.words import count, verb


def retry(sweep: Sweep, overrides: Sequence[str]) -> str:
    """Submit the runs that are neither done nor diverged, nor a live job's, with the code as it is now.

    `overrides` are KEY=VALUE of the launcher's options. Return the message to print. Raises ConfigError, OvpnetError.
    """
    check_private(sweep.path)
    about = sweep.about()
    kind = named(about["launcher"])
    if kind.waits:
        raise OvpnetError(f"{sweep.id} was trained by hydra/launcher={about['launcher']}: the same command continues "
                          f"it: {about['command']}")
    launcher = _changed(kind, about["options"], overrides)
    write_json(sweep.path / "sweep.json", about | {"options": asdict(launcher)})
    configs: dict[str, Config] = {}
    for group in sweep.groups():
        for _, members in sweep.configs(group.number, range(len(sweep.packs(group.number)))):
            configs |= {run_id(config): config for config in members}
    if not configs:
        raise OvpnetError(f"{sweep.id} has no runs on record: give its command again: {about['command']}")
    left = plan(list(configs.values()), _smaller_packs(sweep, launcher, configs.keys()))
    if not left.packs:
        elsewhere = "".join(f"; {count(runs, 'run')} {verb(runs, 'is', 'are')} left to {other}"
                            for other, runs in left.elsewhere.items())
        return f"{sweep.id}: nothing to submit{elsewhere}"
    code = snapshot(sweep.store)
    for tier in left.tiers:
        submit(sweep, add(sweep, tier, code))
    runs = sum(len(pack.configs) for pack in left.packs)
    return (f"{sweep.id}: {count(runs, 'run')} submitted again in {count(left.job_count, 'job')}, "
            f"{duration(left.seconds)} predicted in all")


def _changed(kind: type[Launcher], options: dict[str, Any], overrides: Sequence[str]) -> Launcher:
    """Return the launcher on record, with other options. Raises ConfigError, OvpnetError."""
    schema: Any = OmegaConf.structured(kind)
    known = [item.name for item in fields(kind) if item.name not in ("_target_", "dry_run")]
    for each in overrides:
        if "=" not in each:
            raise OvpnetError(f"{each}: options are given as KEY=VALUE")
    try:
        given = OmegaConf.from_dotlist([each.removeprefix("hydra.launcher.") for each in overrides])
        for name in given:
            if name not in known:
                raise ConfigError(str(name), given[name], f"no option of the launcher; allowed: {', '.join(known)}")
        merged = OmegaConf.to_container(OmegaConf.merge(schema, {name: options[name] for name in known
                                                                 if name in options}, given))
    except (OmegaConfBaseException, YAMLError) as error:
        raise OvpnetError(f"{' '.join(overrides)}: {str(error).splitlines()[0]}") from error
    assert isinstance(merged, dict)
    return kind.checked({str(name): value for name, value in merged.items() if name != "_target_"})


def _smaller_packs(sweep: Sweep, launcher: Launcher, runs: AbstractSet[str]) -> Launcher:
    """Halve the packs if SLURM ended a job because its memory was full: no file tells which of its runs was too much.
    """
    groups = {group.number: group for group in sweep.groups()}
    ended = {job.group for job in jobs(sweep, list(groups.values())) if job.state == "OUT_OF_MEMORY"}
    if not ended:
        return launcher
    most = max(1, max(len(pack.runs) for number in ended for pack in sweep.packs(number)) // 2)
    checkpoints = Checkpoints(sweep.store)
    for run_ids in checkpoints.packs():
        if len(run_ids) > most and runs >= set(run_ids):
            checkpoints.halve(run_ids)
    return replace(launcher, runs_per_pack=min(most, launcher.runs_per_pack or most))
