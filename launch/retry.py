"""Submitting what is left of a sweep once more."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import asdict, fields
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from launch.code import snapshot
from launch.options import Options, SlurmConf, SubprocessConf, checked
from launch.report import duration
from launch.scheduler import jobs
from launch.submit import add, planned, submit
from launch.sweep import Sweep, check_private, write_json
from ovpnet.record.checkpoint import Checkpoints
from ovpnet.spec.config import Config
from ovpnet.spec.errors import ConfigError, OvpnetError
from ovpnet.spec.identity import run_id
from ovpnet.terminal.words import count, verb

_KINDS: dict[str, type[Options]] = {"subprocess": SubprocessConf, "slurm": SlurmConf}


def retry(sweep: Sweep, overrides: Sequence[str]) -> str:
    """Submit the runs that are neither done nor diverged, nor a live job's, with the code as it is now; what to say.

    `overrides` are KEY=VALUE of the launcher's options. Raises ConfigError, OvpnetError.
    """
    check_private(sweep.path)
    about = sweep.about()
    if about["launcher"] not in _KINDS:
        raise OvpnetError(f"{sweep.id} was trained by hydra/launcher={about['launcher']}: the same command continues "
                          f"it: {about['command']}")
    kind = _KINDS[about["launcher"]]
    options = _changed(kind, about["options"], overrides)
    write_json(sweep.path / "sweep.json", about | {"options": asdict(options)})
    configs: dict[str, Config] = {}
    for group in sweep.groups():
        for _, members in sweep.configs(group.number, range(len(sweep.packs(group.number)))):
            configs |= {run_id(config): config for config in members}
    if not configs:
        raise OvpnetError(f"{sweep.id} has no runs on record: give its command again: {about['command']}")
    options = _smaller_packs(sweep, options, configs.keys())
    what = planned(list(configs.values()), options)
    if not what.packs:
        elsewhere = "".join(f"; {count(runs, 'run')} {verb(runs, 'is', 'are')} left to {other}"
                            for other, runs in what.elsewhere.items())
        return f"{sweep.id}: nothing to submit{elsewhere}"
    code = snapshot(sweep.store)
    for tier in what.tiers:
        submit(sweep, add(sweep, tier, code), tier.options)
    runs = sum(len(pack.configs) for pack in what.packs)
    return (f"{sweep.id}: {count(runs, 'run')} submitted again in {count(what.jobs, 'job')}, "
            f"{duration(sum(tier.seconds for tier in what.tiers))} predicted in all")


def _changed(kind: type[Options], options: dict[str, Any], overrides: Sequence[str]) -> Options:
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
    made: Options = checked(kind, {str(name): value for name, value in merged.items() if name != "_target_"})
    return made


def _smaller_packs(sweep: Sweep, options: Options, runs: AbstractSet[str]) -> Options:
    """Where SLURM ended a job for want of memory, nothing could be learned in it: halve the packs."""
    groups = {group.number: group for group in sweep.groups()}
    ended = {job.group for job in jobs(sweep, list(groups.values())) if job.state == "OUT_OF_MEMORY"}
    if not ended:
        return options
    most = max(1, max(len(pack.runs) for number in ended for pack in sweep.packs(number)) // 2)
    checkpoints = Checkpoints(sweep.store)
    for run_ids in checkpoints.packs():
        if len(run_ids) > most and runs >= set(run_ids):
            checkpoints.halve(run_ids)
    return checked(type(options), {name: value for name, value in asdict(options).items() if name != "_target_"}
                   | {"runs_per_pack": min(most, options.runs_per_pack or most)})
