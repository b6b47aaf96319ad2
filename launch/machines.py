"""What packs are planned for: this machine, as measured; or nodes of a cluster, as their jobs have told of them."""

import logging
import os
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from launch.sweep import read_json, write_json
from ovpnet.engine.cost import EXAMPLE, Machine, Rates
from ovpnet.spec.errors import ConfigError
from ovpnet.spec.identity import digest

log = logging.getLogger(__name__)

# Of a job's or a GPU's memory, the part that a pack may take; and bytes that Python and torch take before it.
_SHARE, _BASE = 0.7, 1 << 29


def here(device: str) -> Machine:
    """This machine with the device of that name. Raises ConfigError where there is none."""
    from ovpnet.run import calibrate, pack  # which import torch: a sweep with nothing to train need not wait for it

    return calibrate.machine(pack.device(device))


def shared_by(processes: int, device: str) -> Machine:
    """What each of several processes has of this machine, if they share a device."""
    machine, each = here(device), -(-processes // max(1, len(gpus(0))))
    return replace(machine, memory=machine.memory // each, threads=max(1, machine.threads // each))


def workers(device: str) -> int:
    """How many processes share the packs here: one a GPU, else one."""
    return max(1, len(gpus(0))) if device in ("auto", "cuda") else 1


def gpus(processes: int) -> list[int | None]:
    """The GPU of each process, in turn; None where there are none. For no process, all GPUs."""
    import torch

    count = torch.cuda.device_count()
    # torch counts those that are visible; the processes are told by their own numbers.
    given = [each.strip() for each in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if each.strip()]
    own = [int(each) for each in given[:count] if each.isdecimal()] if given else list(range(count))
    if not processes:
        return list(own)
    return [own[number % len(own)] if own else None for number in range(processes)]


def planned_for(store: Path, options: Mapping[str, Any]) -> Machine:
    """The nodes that these options ask for: as a job there found them, else an example with the memory asked for."""
    told = read_json(_file(store, options))
    try:
        if told is not None:
            rates: Any = {name: tuple(map(tuple, value)) if isinstance(value, list) else value
                     for name, value in told["rates"].items()}
            return Machine(Rates(**rates), told["memory"], told["threads"])
    except (KeyError, TypeError):
        pass  # of another version
    if on_gpu(options):
        memory = options["gpu_memory_gb"] * 2**30
    else:
        memory = EXAMPLE.memory if options["mem_gb"] is None else options["mem_gb"] * 2**30 - _BASE
    return Machine(EXAMPLE.rates, max(1 << 28, int(_SHARE * memory)), options["cpus_per_task"])


def tell(store: Path, options: Mapping[str, Any], device: str) -> None:
    """Keep for the next plan what this job is on. A GPU is measured, once; the cores of a node that other jobs measure
    at the same time would tell little."""
    file = _file(store, options)
    if file.exists() or not on_gpu(options) or not device.startswith(("auto", "cuda")):
        return
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(file, asdict(here(device)))
    except (OSError, RuntimeError) as error:  # the next plan is less exact, and that is all
        log.warning("the machine was not measured (%s)", error)


def check(options: Mapping[str, Any], device: str) -> None:
    """Raise ConfigError where a job has a GPU that it cannot use: it would train on CPUs what was sized for a GPU."""
    from ovpnet.run import pack

    if on_gpu(options) and device == "auto" and pack.device(device).type == "cpu":
        raise ConfigError("device", device, "SLURM gave this job a GPU, but torch finds none on this node: exclude it "
                          "(hydra.launcher.exclude), install torch for CUDA, or give device=cpu")


def on_gpu(options: Mapping[str, Any]) -> bool:
    """Whether jobs with these options have a GPU."""
    return any(options.get(name) for name in ("gpus_per_node", "gpus_per_task", "gres"))


def _file(store: Path, options: Mapping[str, Any]) -> Path:
    asked = ("partition", "constraint", "gres", "gpus_per_node", "gpus_per_task", "cpus_per_task", "mem_gb", "nodelist")
    return store / "machines" / f"{digest({name: options[name] for name in asked})}.json"
