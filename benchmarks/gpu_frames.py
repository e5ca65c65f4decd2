"""Frames of one stream on a GPU, sixteen together: which weights are read for each, and what it takes.

    python benchmarks/gpu_frames.py CDE
    python benchmarks/gpu_frames.py CDE --target cuda-sm_90

Weights are counted, not measured: those of a kernel once for each of its tiles, as if no cache held them
between two tiles. Microseconds are those of a frame in a chunk of sixteen that goes to the device and comes
back, once as steps and once together. Both must give the same bits.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
from frames import FRAMES
from report import number
from rich.console import Console
from rich.table import Table
from rounds import take_turns
from workload_steps import step_of

from millstream import lower
from millstream.lower import Lowered
from millstream.targets import cuda, opencl
from millstream.targets.gpu.compiling import SPREAD, laid_out
from millstream.targets.gpu.cutting import cut_up_frames
from millstream.targets.gpu.forms import Tile
from millstream.targets.gpu.paying import weights_read
from millstream.targets.gpu.prefill import unroll
from millstream_runtime.backends import Chunks
from millstream_runtime.backends.cuda import CudaDevice
from millstream_runtime.backends.gpu.chunks import DeviceChunks
from millstream_runtime.backends.gpu.layout import load, way_for
from millstream_runtime.backends.gpu.step import DeviceStep
from millstream_runtime.backends.opencl import OpenclDevice

ROUNDS = 9
OPENCL = "opencl"


def opened(lowered: Lowered, target: str) -> DeviceStep:
    """The step on the device of this machine."""
    if target == OPENCL:
        files = opencl.compile_program(lowered.program, lowered.weights).files
        layout = load(files["layout.json"])
        return DeviceStep(OpenclDevice(files["step.cl"].decode()), layout, files["weights.bin"])
    arch = target.removeprefix("cuda-")
    files = cuda.compile_program(lowered.program, lowered.weights, arch).files
    layout = load(files["layout.json"])
    return DeviceStep(CudaDevice(files["step.cubin"], arch, layout), layout, files["weights.bin"])


def weights_of_a_frame(lowered: Lowered) -> tuple[float, float]:
    """Bytes of weights read for a frame: by a step of its own, and together with others."""
    program = laid_out(lowered.program, lowered.weights).program
    unrolled = unroll(program, SPREAD.streams)
    cut = cut_up_frames(unrolled, SPREAD, Tile(1, 256), cuda.SHARED_BYTES["sm_90"])
    together = sum(
        weights_read(stage, program) / piece.tile.streams for piece in cut.pieces for stage in piece.stages
    )
    return sum(weights_read(stage, program) for stage in program.stages), together


def timed(step: DeviceStep) -> tuple[float, float]:
    """Microseconds of a frame, as steps and together."""
    ways = [_chunk(step, chunks) for chunks in (DeviceChunks(step), step.chunks)]
    results = []
    for run, arrays in ways:
        run()
        results.append([array.copy() for array in arrays])
    if not all(np.array_equal(*pair) for pair in zip(*results, strict=True)):
        raise SystemExit("frames together differ from frames one by one")

    def one_round(run: Callable[[], None]) -> float:
        begin = time.perf_counter()
        run()
        return (time.perf_counter() - begin) * 1e6 / DeviceChunks.frames

    rounds = {str(number): lambda run=run: one_round(run) for number, (run, _) in enumerate(ways)}
    found = take_turns(rounds, ROUNDS)
    return found["0"].median, found["1"].median


def _chunk(step: DeviceStep, chunks: Chunks) -> tuple[Callable[[], None], list[np.ndarray]]:
    """A call that takes sixteen frames from states of zero, and what it writes."""
    layout = step.layout
    inputs, states, outputs, after = (
        [np.zeros((rows, buffer.size), buffer.dtype) for buffer in layout.role(role)]
        for role, rows in (
            ("input", chunks.frames),
            ("state", 1),
            ("output", chunks.frames),
            ("next_state", 1),
        )
    )
    inputs[0][...] = FRAMES[: chunks.frames]
    return chunks.bind(inputs, states, outputs, after), [*outputs, *after]


def main() -> None:
    """Count and time every workload."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("workloads", help="letters of workloads, such as CDE")
    parser.add_argument("--target", default=OPENCL)
    arguments = parser.parse_args()
    table = Table("workload", "launches of 16 frames", "together", "KB of weights a frame", "together")
    for column in ("us a frame", "together"):
        table.add_column(column)
    for name in arguments.workloads:
        graph, _ = step_of(name)
        lowered = lower.lower(graph)
        step, weights = opened(lowered, arguments.target), weights_of_a_frame(lowered)
        layout = step.layout
        alone = way_for(layout, 1)
        launches = DeviceChunks.frames * len(alone.launches)
        prefill = str(len(layout.prefill.launches)) if layout.prefill else "-"
        table.add_row(
            name,
            str(launches),
            prefill,
            *(number(size / 1e3) for size in weights),
            *map(number, timed(step)),
        )
    Console(width=130).print(table)


if __name__ == "__main__":
    main()
