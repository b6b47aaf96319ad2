"""What packs are planned for: this machine, as measured; or nodes of a cluster, as their jobs have told of them."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from launch.sweep import read_json, write_json
from ovpnet.config import digest
from ovpnet.cost import EXAMPLE, Machine, Rates

# Of a job's or a GPU's memory, the part that a pack may take; and bytes that Python and torch take before it.
_SHARE, _BASE = 0.7, 1 << 29


def here(device: str) -> Machine:
    """This machine with the device of that name. Raises ConfigError where there is none."""
    from ovpnet import calibrate, pack  # which import torch: a sweep with nothing to train need not wait for it

    return calibrate.machine(pack.device(device))


def workers(device: str) -> int:
    """How many processes share the packs here: one a GPU, else one."""
    return max(1, len(gpus(0))) if device in ("auto", "cuda") else 1


def gpus(processes: int) -> list[int | None]:
    """The GPU of each process, in turn; None where there are none. For no process, all GPUs."""
    import torch

    count = torch.cuda.device_count()
    if not processes:
        return list(range(count))
    return [number % count if count else None for number in range(processes)]


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
    memory = options["gpu_memory_gb"] * 2**30 if on_gpu(options) else options["mem_gb"] * 2**30 - _BASE
    return Machine(EXAMPLE.rates, max(1 << 28, int(_SHARE * memory)), options["cpus_per_task"])


def tell(store: Path, options: Mapping[str, Any], device: str) -> None:
    """Keep for the next plan what this job is on. A GPU is measured, once; the cores of a node that other jobs measure
    at the same time would tell little."""
    file = _file(store, options)
    if file.exists() or not on_gpu(options) or not device.startswith(("auto", "cuda")):
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    write_json(file, asdict(here(device)))


def on_gpu(options: Mapping[str, Any]) -> bool:
    """Whether jobs with these options have a GPU."""
    return any(options.get(name) for name in ("gpus_per_node", "gpus_per_task", "gres"))


def _file(store: Path, options: Mapping[str, Any]) -> Path:
    asked = ("partition", "constraint", "gres", "gpus_per_node", "gpus_per_task", "cpus_per_task", "mem_gb", "nodelist")
    return store / "machines" / f"{digest({name: options[name] for name in asked})}.json"
