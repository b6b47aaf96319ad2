"""The machines that packs are planned for: this one, as measured, or one that a job has measured."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from launch.sweep import read_json
from ovpnet.engine.rates import Machine, Rates


def here(device: str) -> Machine:
    """Return this machine with the device of that name. Raises ConfigError if there is no such device."""
    from ovpnet.run import calibrate, pack  # torch is slow to import, and a sweep with nothing to train needs none

    return calibrate.machine(pack.device(device))


def shared_by(processes: int, device: str) -> Machine:
    """Return the part of this machine that each of several processes has, if they share a device."""
    machine, each = here(device), -(-processes // max(1, len(gpus(0))))
    return replace(machine, memory=machine.memory // each, threads=max(1, machine.threads // each))


def workers(device: str) -> int:
    """Return how many processes share the packs here: one per GPU, else one."""
    return max(1, len(gpus(0))) if device in ("auto", "cuda") else 1


def gpus(processes: int) -> list[int | None]:
    """Return the GPU of each process, in turn; None if there are none. For 0 processes, return all GPUs."""
    import torch

    count = torch.cuda.device_count()
    # torch counts the visible GPUs; a process is given the number that the machine knows.
    given = [each.strip() for each in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if each.strip()]
    own = [int(each) for each in given[:count] if each.isdecimal()] if given else list(range(count))
    if not processes:
        return list(own)
    return [own[number % len(own)] if own else None for number in range(processes)]


def known(file: Path) -> Machine | None:
    """Return the machine that a job wrote to this file; None if there is none, or other code wrote it."""
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
    """Return whether the device of that name is a CPU here. Raises ConfigError."""
    from ovpnet.run import pack

    return bool(pack.device(device).type == "cpu")
