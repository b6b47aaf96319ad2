"""What the machine can do: the rates that measured times are held against."""

import ctypes
import os
import platform
import resource
import subprocess
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory

# What is larger than this, all members together, is taken from memory in every step. (A GPU: its cache and registers.)
CACHE_BYTES = {"cpu": 16 << 20, "cuda": 80 << 20}


def about(device: str, threads: int) -> dict[str, object]:
    """The machine in words, the libraries, and its measured rates: GFLOP/s of a float32 product of 2000 x 2000
    matrices and of multiply-adds in registers, GB/s of a sum of 256 MB arrays (two read, one written)."""
    import torch

    torch.set_num_threads(threads)
    a, b = (torch.randn(2000, 2000, device=device) for _ in range(2))
    gemm = 2 * 2000**3 / _seconds(lambda: a @ b, device) / 1e9
    x, y, z = (torch.ones(64 << 20, device=device) for _ in range(3))
    bandwidth = 3 * x.nbytes / _seconds(lambda: torch.add(x, y, out=z), device) / 1e9
    peak = _peak_gflops(threads) if device == "cpu" else gemm
    return {"device": device, "threads": threads, "cpu": cpu(), "gemm_gflops": gemm, "peak_gflops": max(gemm, peak),
            "bandwidth_gb": bandwidth, "gpu": torch.cuda.get_device_name() if device == "cuda" else None,
            "python": platform.python_version(), **{name: _version(name) for name in ("torch", "jax", "ovpnet")},
            "load_before": os.getloadavg()[0]}


def peak_memory() -> int:
    """Bytes of memory that this process had at most (Linux; getrusage also counts what its parent had)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) << 10


def children_seconds() -> float:
    """Seconds of the processor that the processes this one has waited for took."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _peak_gflops(threads: int) -> float:
    """The processor's own float32 rate (peak.cpp); 0 where nothing can be compiled."""
    source, compiler = Path(__file__).with_name("peak.cpp"), os.environ.get("CXX", "c++")
    flags = ["-std=c++17", "-O3", "-march=native", "-mprefer-vector-width=512", "-shared", "-fPIC", "-pthread"]
    with TemporaryDirectory() as folder:
        library = Path(folder) / "peak.so"
        try:
            subprocess.run([compiler, *flags, "-o", library, source], check=True)
        except (OSError, subprocess.CalledProcessError):
            return 0.0
        peak = ctypes.CDLL(str(library)).peak
    peak.restype = ctypes.c_double
    return max(peak(ctypes.c_int64(threads), ctypes.c_int64(20_000_000)) for _ in range(5)) / 1e9


def _seconds(work: object, device: str) -> float:
    """The fastest of some runs: the machine's own rate, not that of a busy moment."""
    import torch

    best = float("inf")
    for _ in range(12):
        started = time.perf_counter()
        work()
        if device == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - started)
    return best


def cpu() -> str:
    """The processor in words."""
    import cpuinfo

    return str(cpuinfo.get_cpu_info().get("brand_raw") or platform.processor())


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
