"""Compiled loops for the CPU (C++, called through ctypes), if the install had a compiler (`hatch_build.py`).

Every function works on contiguous CPU tensors, with as many threads as torch uses. Its results depend neither on the
number of threads nor on what else is in the call.
"""

import ctypes
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

# What a processor must be capable of, in torch's names (torch.cpu.get_capabilities).
_NEEDED = {"x86-64-v4": {"avx512_f", "avx512_bw", "avx512_cd", "avx512_dq", "avx512_vl"},
           "x86-64-v3": {"avx2", "fma3", "bmi", "bmi2"},
           "plain": set()}


@cache
def library() -> ctypes.CDLL | None:
    """Return the best library for this processor; None if none was built."""
    return next((ctypes.CDLL(str(file)) for file in library_files()), None)


def library_files() -> list[Path]:
    """Return the libraries that were built and that this processor can run, the best one first."""
    capable = {name for name, value in torch.cpu.get_capabilities().items() if value is True}
    files = [Path(__file__).parent / f"lib-{name}.so" for name, needed in _NEEDED.items() if needed <= capable]
    return [file for file in files if file.exists()]


def minibatches(seeds: Tensor, samples: Tensor, first: int, last: int, shuffle: bool) -> Tensor:
    """Return indices [E, last - first] of the members' minibatch stream (`training.schedule.minibatches`)."""
    taken = torch.empty(len(seeds), last - first, dtype=torch.int64)
    call("minibatches", len(seeds), seeds, samples, first, last, shuffle, taken, torch.get_num_threads())
    return taken


def words(seeds: Tensor, stream: int, blocks: Tensor, start: int, stop: int) -> Tensor:
    """Return random words [n, stop - start] of seeds [n] and blocks [n] (`ovpnet.problem.philox.words`)."""
    drawn = torch.empty(len(seeds), stop - start, dtype=torch.int64)
    call("words", len(seeds), seeds, stream, blocks, start, stop, drawn, torch.get_num_threads())
    return drawn


def call(name: str, *arguments: Tensor | int) -> None:
    """Call a function whose parameters are pointers (contiguous tensors) and int64."""
    compiled = library()
    assert compiled is not None
    getattr(compiled, name)(*map(_value, arguments))


def _value(argument: Tensor | int) -> ctypes.c_void_p | ctypes.c_int64:
    if isinstance(argument, Tensor):
        assert argument.is_contiguous()
        assert argument.device.type == "cpu"
        return ctypes.c_void_p(argument.data_ptr())
    return ctypes.c_int64(argument)
