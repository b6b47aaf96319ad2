"""`python -m benchmarks.cuda_kernels`: what can be known of the CUDA kernels without a GPU.

Compiles them for an H100 (sm_90), which needs no device, and prints registers, bytes of spills a thread and shared
memory; then the floors: the least time of a step and member that an H100's bandwidth and arithmetic allow.
"""

import os
import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# H100 SXM, of NVIDIA's data sheet: numbers that no program reaches quite.
BYTES_PER_SECOND = 3.35e12
FLOPS_PER_SECOND = {4: 67e12, 8: 34e12}  # without tensor cores, by bytes of a number


@dataclass(frozen=True)
class Floor:
    """The least that a step of one member costs, all of its GPU working for many members at once."""

    flops: float
    bytes: float  # moved to and from the GPU's memory
    seconds: float


def two_layer_floor(m: int, d: int, B: int, on_chip: bool, itemsize: int = 4) -> Floor:
    """Hidden weights, no biases. A neuron and sample take d multiply-adds forward and d for the gradient, and 3 flops
    for the output and the sign; a sweep makes z of the step before once more. On chip only the minibatch comes from
    memory; else W, v and a are read and W, v written."""
    flops = m * B * ((4 if on_chip else 6) * d + 4) + 4 * m * d
    minibatch = B * ((d + 1) * itemsize + 4)
    return _floor(flops, minibatch if on_chip else minibatch + m * (4 * d + 1) * itemsize, itemsize)


def three_layer_floor(m: int, d: int, B: int, itemsize: int = 4) -> Floor:
    """Hidden weights, no biases. Three GEMMs of B m^2 multiply-adds; V is read forward, and read and written with its
    velocity backward and in the update, 5 m^2 numbers in one pass (the kernels' two passes take 6)."""
    flops = 6 * B * m**2 + 4 * m**2 + m * B * (4 * d + 4)
    return _floor(flops, (5 * m**2 + m * (4 * d + 1) + B * (d + 1 + 6 * m)) * itemsize, itemsize)


def _floor(flops: float, moved: float, itemsize: int) -> Floor:
    return Floor(flops, moved, max(flops / FLOPS_PER_SECOND[itemsize], moved / BYTES_PER_SECOND))


@dataclass(frozen=True)
class Compiled:
    """A kernel as compiled for sm_90."""

    name: str
    registers: int  # a thread
    spilled: int  # bytes of stack a thread
    shared: int  # bytes a program


def compiled(kernel: Any, itemsize: int, warps: int, **constants: Any) -> Compiled:
    """Compiles a kernel with the constants that a launch gives it (None: a pointer that the run does not have)."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    number = {4: "*fp32", 8: "*fp64"}[itemsize]
    signature = {name: "constexpr" if name in constants else "*i32" if name == "index_ptr"
                 else number if name.endswith("_ptr") else "i32" for name in kernel.arg_names}
    aligned = {(place,): [["tt.divisibility", 16]] for place, kind in enumerate(signature.values()) if kind[0] == "*"}
    source = ASTSource(fn=kernel, signature=signature, constexprs=constants, attrs=aligned)
    built = triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": warps})
    tools = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(built.asm["cubin"])
        file.flush()
        used = subprocess.run([tools / "cuobjdump", "-res-usage", file.name], capture_output=True, text=True,
                              check=True).stdout
    found = re.search(r"REG:(\d+) STACK:(\d+)", used)
    assert found is not None, used
    return Compiled(kernel.__name__, int(found[1]), int(found[2]), built.metadata.shared)


def two_layer_kernels(m: int, d: int, itemsize: int = 4, **differing: Any) -> list[Compiled]:
    """The kernels of a two-layer net; by default hidden weights under Frobenius decay and the squared loss."""
    from ovpnet.engine.cuda import parts, two_layer

    sizes = two_layer.Sizes.of(m, d, itemsize)
    options = {"LAST": False, "BIASES": False, "FROZEN": False, "W_KIND": "frobenius", "B_KIND": "none",
               "A_KIND": "none", "INCREMENTS": False, "D": sizes.inputs, "TILE": sizes.samples, **differing}
    absent = ["a_initial_ptr", *(["W_velocity_ptr"] if options["LAST"] else ["a_velocity_ptr"]),
              *([] if options["BIASES"] else ["b_velocity_ptr"])]
    options |= dict.fromkeys(absent)
    loss = options.pop("LOSS", "l2")
    measuring = [] if d > two_layer.MOST_OUTPUT_INPUTS else [
        compiled(two_layer.outputs, itemsize, 1, FROZEN=options["FROZEN"], **two_layer.output_sizes(d))]
    if sizes.on_chip:
        return [compiled(two_layer.on_chip, itemsize, sizes.warps, LOSS=loss, M=sizes.neurons, **options), *measuring]
    return [compiled(two_layer.sweep, itemsize, sizes.warps, SLICE=sizes.neurons, **options),
            compiled(parts.residuals, itemsize, 8, LOSS=loss, ROWS=128, BATCH=64), *measuring]


def three_layer_kernels(itemsize: int = 4, precision: str = "ieee", kind: str = "frobenius") -> list[Compiled]:
    """The kernels of a three-layer net with biases, d = 4 and minibatches of 64."""
    from ovpnet.engine.cuda import three_layer

    block, strip, samples = three_layer.BLOCK, three_layer.STRIP, three_layer.SAMPLES
    gemm = {"PRECISION": precision, "BLOCK": block}
    return [
        compiled(three_layer.first, itemsize, 4, BIASES=True, W_KIND=kind, B_KIND=kind, INCREMENTS=False,
                 SLICE=three_layer.SLICE_ENTRIES // 4, D=4, TILE=8),
        compiled(three_layer.second, itemsize, 4, KIND=kind, INCREMENTS=False, STRIP=strip, SAMPLES=samples,
                 **gemm),
        compiled(three_layer.backward, itemsize, 4, STRIP=strip, SAMPLES=samples, **gemm),
        compiled(three_layer.update, itemsize, 8, BIASES=True, KIND=kind, B_KIND=kind, INCREMENTS=False,
                 SAMPLES=16, **gemm)]


def main() -> None:
    if os.environ.get("TRITON_INTERPRET"):
        raise SystemExit("unset TRITON_INTERPRET: it keeps Triton from compiling")
    print(f"{'kernel':10} {'':38} {'registers':>9} {'spilled':>8} {'shared':>7}")
    every = {"biases, NTK, increments, row_24": {"BIASES": True, "FROZEN": True, "INCREMENTS": True,
                                                 "W_KIND": "row_24", "B_KIND": "row_24", "LOSS": "logistic"}}
    cases = [(f"m={m} d={d} float{8 * itemsize} {name}", two_layer_kernels(m, d, itemsize, **options))
             for name, options in ({"": {}} | every).items() for m, d, itemsize in
             [(100, 4, 4), (1000, 4, 4), (2000, 4, 4), (10_000, 4, 4), (1000, 4, 8), (100, 30, 4), (1000, 100, 4)]]
    cases += [(f"float{8 * itemsize} {precision} {kind}", three_layer_kernels(itemsize, precision, kind))
              for itemsize, precision, kind in [(4, "ieee", "none"), (4, "ieee", "row_24"), (4, "tf32x3", "none"),
                                                (4, "tf32", "none"), (8, "ieee", "none")]]
    for name, kernels in cases:
        for each in kernels:
            print(f"{each.name:10} {name:38} {each.registers:9} {each.spilled:8} {each.shared:7}", flush=True)
    print("\nfloors on an H100, d = 4, batch 50, float32")
    print(f"{'layers':>6} {'m':>8} {'MFLOP':>9} {'KB':>9} {'us a step and member':>21}")
    for m in (100, 1000, 10_000, 100_000, 1_000_000):
        _print(2, m, two_layer_floor(m, 4, 50, on_chip=m * 4 <= 8192))
    for m in (100, 500, 1000, 2000):
        _print(3, m, three_layer_floor(m, 4, 50))


def _print(layers: int, m: int, floor: Floor) -> None:
    print(f"{layers:6} {m:8} {floor.flops / 1e6:9.3f} {floor.bytes / 1e3:9.1f} {floor.seconds * 1e6:21.4f}")


if __name__ == "__main__":
    main()
