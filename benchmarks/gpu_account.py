"""What a step of many streams has a GPU do, told without one: the bytes that it moves, and how full it is.

    python benchmarks/gpu_account.py CD
    python benchmarks/gpu_account.py C --formats float32 w8 --states int8 --arch sm_90

Bytes are counted from the lowered program: weights once for each tile of streams, which caches mostly serve,
everything else once for each stage that reads or writes it, but for what a kernel keeps in shared memory. At
the least, weights come from memory once, and states, frames and what kernels leave each other as counted: a
step is no faster than a copy of so many bytes (`--copy`, GB/s; without, what an H100 was measured to copy).
Of each kernel NVIDIA's compiler says the registers; how many blocks of it stand on one multiprocessor follows
from these, from its threads and its shared memory. Whether a model bears a format is for `millstream export`
to say.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import options
from gpu_streams import STREAMS
from report import machine, number, write_json
from rich.console import Console
from rich.table import Table
from workload_steps import step_of

from millstream import lower
from millstream.lower import Lowered
from millstream.quantize import FORMATS, quantize
from millstream.quantize.states.storages import STORAGES, storage_of
from millstream.quantize.states.writing import narrowed
from millstream.targets.cuda import SHARED_BYTES, choices
from millstream.targets.gpu.build import compiled, cuda_source, without_prelude
from millstream.targets.gpu.compiling import kernels, laid_out
from millstream.targets.gpu.cutting import cut_up
from millstream.targets.gpu.forms import Tile
from millstream.targets.gpu.paying import moved, weights_read
from millstream.targets.gpu.pieces import Piece, Pieces
from millstream_runtime.backends.gpu.layout import Layout, Way, load, rows_of, way_for
from millstream_runtime.program import Program

FLOAT = "float32"
#: GB/s that a copy reads and writes on an H100 (docs/gpu.md).
COPY = 3011.0
#: Of one multiprocessor from sm_80 on: registers, which a warp takes 256 at a time, threads and blocks. An
#: sm_80 and an sm_90 have the same but for shared memory.
_REGISTERS, _THREADS, _BLOCKS, _WARP, _REGISTERS_AT_ONCE = 65536, 2048, 32, 32, 256
_OF_THE_SYSTEM = 1024
_USED = re.compile(
    r"Compiling entry function '(\w+)'.*?(\d+) bytes spill stores.*?Used (\d+) registers", re.S
)


@dataclass(frozen=True)
class Bytes:
    """What one step of so many streams moves, and in how many launches. `least` are the microseconds that a
    copy of what must come from memory takes."""

    workload: str
    format: str
    streams: int
    launches: int
    weights: int
    states: int
    scratch: int
    least: float


@dataclass(frozen=True)
class Fill:
    """A kernel: the threads of a block, registers of each, bytes that did not fit into them, shared bytes of
    a block, how many blocks fit on a multiprocessor, and the part of its threads that they fill."""

    workload: str
    format: str
    kernel: str
    threads: int
    registers: int
    spilled: int
    shared: int
    blocks: int
    filled: float


def main() -> None:
    """Count every workload in every format."""
    arguments = _arguments()
    console = Console(width=140)
    moves: list[Bytes] = []
    fills: list[Fill] = []
    for name in arguments.workloads:
        for form in arguments.formats:
            with console.status(f"{name}, {form}"):
                lowered = _lowered(name, form, arguments.states)
                made = kernels(
                    lowered.program, lowered.weights, choices(lowered.program), SHARED_BYTES[arguments.arch]
                )
                layout, program = load(made.layout), laid_out(lowered.program, lowered.weights).program
                shared = SHARED_BYTES[arguments.arch]
                moves += [_bytes(name, form, layout, program, n, shared, arguments.copy) for n in STREAMS]
                fills += _fills(name, form, layout, made.functions, arguments.arch)
    console.print(_moved(moves), _filled(fills), sep="\n")
    if arguments.json:
        write_json(arguments.json, machine(), [*moves, *fills])


def _lowered(name: str, form: str, states: str) -> Lowered:
    """The step of a workload in a format, its float32 states in another dtype if one is asked for."""
    graph, calibration = step_of(name)
    if form != FLOAT:
        graph = quantize(graph, FORMATS[form], calibration).graph
    if states:
        pairs = zip(graph.states, graph.state_tensors, strict=True)
        storage = storage_of(states)
        graph = narrowed(graph, {p.name: storage for p, t in pairs if t.dtype == np.float32})
    return lower.lower(graph)


def _bytes(
    name: str, form: str, layout: Layout, program: Program, streams: int, shared: int, copy: float
) -> Bytes:
    way = way_for(layout, streams)
    rows, cut = rows_of(way, streams), _cut(way, program, shared)
    weights = sum(
        rows // launch.streams * weights_read(stage, program)
        for launch, piece in zip(way.launches, cut.pieces, strict=True)
        for stage in piece.stages
    )
    kept = sum(
        streams * moved(stage, program, role)
        for stage in program.stages
        for role in ("state", "next_state", "input", "output")
    )
    scratch = sum(streams * moved(stage, cut.program, "scratch") for stage in program.stages)
    least = (program.weight_bytes + kept + scratch) / copy / 1e3
    return Bytes(name, form, streams, len(cut.pieces), weights, kept, scratch, least)


def _cut(way: Way, program: Program, shared: int) -> Pieces:
    """What each launch of a way computes, and what it keeps: all scratch where it is alone."""
    if len(way.launches) == 1:
        (launch,) = way.launches
        piece = Piece(program.stages, Tile(launch.streams, launch.threads), apart=False)
        buffers = tuple(buffer for buffer in program.buffers if buffer.role != "scratch")
        return Pieces(replace(program, buffers=buffers), (piece,))
    wide, narrow = next(choice.tiles for choice in choices(program) if choice.least == way.least)
    return cut_up(program, wide, narrow, shared)


def _fills(name: str, form: str, layout: Layout, functions: Sequence[str], arch: str) -> Iterator[Fill]:
    used = _used(without_prelude(cuda_source(functions, arch)), arch)
    launches = {launch.kernel: launch for launch in layout.launches}
    for kernel, launch in sorted(launches.items()):
        spilled, registers = used[kernel]
        threads, shared = launch.threads, launch.shared_bytes
        blocks = _blocks(threads, registers, shared, SHARED_BYTES[arch])
        figures = (threads, registers, spilled, shared, blocks)
        yield Fill(name, form, kernel, *figures, blocks * threads / _THREADS)


def _used(source: str, arch: str) -> Mapping[str, tuple[int, int]]:
    """Bytes spilled and registers of each kernel, as the compiler says them."""
    _, told = compiled(source, arch, "--ptxas-options=-v")
    return {kernel: (int(spilled), int(used)) for kernel, spilled, used in _USED.findall(told)}


def _blocks(threads: int, registers: int, shared: int, most: int) -> int:
    """How many blocks fit on a multiprocessor."""
    warps = -(-threads // _WARP)
    of_a_warp = -(-registers * _WARP // _REGISTERS_AT_ONCE) * _REGISTERS_AT_ONCE
    return min(
        _BLOCKS,
        _THREADS // threads,
        _REGISTERS // of_a_warp // warps,
        (most + _OF_THE_SYSTEM) // (shared + _OF_THE_SYSTEM),
    )


def _moved(rows: Sequence[Bytes]) -> Table:
    table = Table("workload", "format", "streams", "launches", title="bytes that a step moves")
    for column in ("weights, MB", "states and frames, MB", "scratch, MB", "us at least"):
        table.add_column(column, justify="right")
    for row in rows:
        sizes = (number(size / 1e6) for size in (row.weights, row.states, row.scratch))
        table.add_row(
            *(row.workload, row.format, f"{row.streams:,}", str(row.launches)), *sizes, number(row.least)
        )
    return table


def _filled(rows: Sequence[Fill]) -> Table:
    table = Table("workload", "format", "kernel", title="how full a multiprocessor is")
    for column in ("threads", "registers", "spilled, B", "shared, B", "blocks", "of its threads"):
        table.add_column(column, justify="right")
    for row in rows:
        figures = (row.threads, row.registers, row.spilled, row.shared, row.blocks)
        table.add_row(row.workload, row.format, row.kernel, *map(str, figures), f"{row.filled:.0%}")
    return table


def _arguments() -> argparse.Namespace:
    parser = options.parser(__doc__ or "")
    parser.add_argument("--formats", nargs="+", default=[FLOAT], help=f"{FLOAT}, or formats of quantization")
    dtypes = [storage.dtype for storage in STORAGES]
    parser.add_argument("--states", default="", choices=("", *dtypes), help="dtype of all states")
    parser.add_argument("--arch", default="sm_90", choices=[arch for arch in SHARED_BYTES if arch != "sm_75"])
    parser.add_argument("--copy", type=float, default=COPY, help="GB/s of a copy on the card")
    options.add_json(parser)
    return parser.parse_args()


if __name__ == "__main__":
    main()
