"""What packs are planned for: this machine, as measured; or one that a job has measured and told of."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from launch.sweep import read_json
from ovpnet.engine.cost import Machine, Rates


def here(device: str) -> Machine:
    """Return this machine with the device of that name. Raises ConfigError if there is none."""
    from ovpnet.run import calibrate, pack  # which import torch: a sweep with nothing to train need not wait for it

    return calibrate.machine(pack.device(device))


def shared_by(processes: int, device: str) -> Machine:
    """Return what each of several processes has of this machine, if they share a device."""
    machine, each = here(device), -(-processes // max(1, len(gpus(0))))
    return replace(machine, memory=machine.memory // each, threads=max(1, machine.threads // each))


def workers(device: str) -> int:
    """Return how many processes share the packs here: one per GPU, else one."""
    return max(1, len(gpus(0))) if device in ("auto", "cuda") else 1


def gpus(processes: int) -> list[int | None]:
    """Return the GPU of each process, in turn; None if there are none. For no process, return all GPUs."""
    import torch

    count = torch.cuda.device_count()
    # torch counts those that are visible; the processes are told by their own numbers.
    given = [each.strip() for each in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if each.strip()]
    own = [int(each) for each in given[:count] if each.isdecimal()] if given else list(range(count))
    if not processes:
        return list(own)
    return [own[number % len(own)] if own else None for number in range(processes)]


def known(file: Path) -> Machine | None:
    """Return the machine that a job has told of in this file; None if none has, or one of other code."""
    told = read_json(file)
    try:
        if told is not None:
            rates: Any = {name: tuple(map(tuple, value)) if isinstance(value, list) else value
                          for name, value in told["rates"].items()}
            return Machine(Rates(**rates), told["memory"], told["threads"])
    except (KeyError, TypeError):
        pass  # of another version
    return None


def is_cpu(device: str) -> bool:
    """Tell whether what is trained on the device of that name is trained on CPUs here. Raises ConfigError."""
    from ovpnet.run import pack

    return bool(pack.device(device).type == "cpu")
