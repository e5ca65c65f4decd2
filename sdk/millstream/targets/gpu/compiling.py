"""What the compile halves for GPUs share: the ways to step few streams and many, and the files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from millstream.targets import ANY_MACHINE, Compiled
from millstream.targets.gpu import choosing
from millstream.targets.gpu.columns import columns
from millstream.targets.gpu.forms import Tile
from millstream.targets.gpu.placing import scratch_bytes
from millstream.targets.gpu.script import Printed, cut_up, whole
from millstream.targets.tools import require
from millstream.targets.tvm.build import missing_tvm
from millstream_runtime.backends.gpu.layout import Layout, Way, dump
from millstream_runtime.program import Program, state_bytes
from millstream_runtime.spec import Machine, Memory, Tolerance

_TOLERANCE = Tolerance(
    relative=1e-5,
    absolute=1e-7,
    reason="float32 sums in another order and fused multiply-adds; exp, tanh and erf to a few ulp",
)
#: Tiles that every device has room for.
_SMALLEST = (Tile(1, 256), Tile(1, 256))


@dataclass(frozen=True)
class Choice:
    """A way to print a step, `whole` or `cut_up` by its tiles, for at least so many streams."""

    least: int
    tiles: tuple[Tile, ...]


#: For few streams and for many, and the shared memory of a block: every device has so much.
_PORTABLE = (Choice(1, _SMALLEST), Choice(64, (Tile(8, 256), Tile(1, 256))))
_PORTABLE_BYTES = 32 << 10


@dataclass(frozen=True)
class Kernels:
    """The functions of a step, its layout, and its weights."""

    functions: tuple[str, ...]
    layout: bytes
    weights: bytes


def kernels(program: Program, weights: bytes, choices: Sequence[Choice], shared: int) -> Kernels:
    """A lowered program as kernels with no more than `shared` bytes of shared memory in a block.

    A choice that asks for more is left out; there is always a way for one stream.
    """
    filled = columns(program, weights)
    program = filled.program
    functions: dict[str, None] = dict.fromkeys(choosing.functions())
    ways = []
    for choice in choices:
        printed = _printed(program, choice.tiles)
        if printed.shared_bytes <= shared:
            functions |= dict.fromkeys(printed.functions)
            ways.append(Way(choice.least, printed.launches))
    if not any(way.least <= 1 for way in ways):
        printed = cut_up(program, *_SMALLEST)
        functions |= dict.fromkeys(printed.functions)
        ways.append(Way(1, printed.launches))
    layout = Layout(program.callers, scratch_bytes(program), program.weight_bytes, tuple(ways))
    return Kernels(tuple(functions), dump(layout), filled.weights)


def portable(program: Program, weights: bytes) -> Kernels:
    """A lowered program as kernels that graphics of any maker have room for. Raises ToolMissing."""
    require("the step", missing_tvm())
    return kernels(program, weights, _PORTABLE, _PORTABLE_BYTES)


def packaged(
    made: Kernels, program: Program, sources: Mapping[str, bytes], machine: Machine = ANY_MACHINE
) -> Compiled:
    """The files of kernels, whose code is `sources`."""
    return Compiled(
        files={**sources, "weights.bin": made.weights, "layout.json": made.layout},
        memory=Memory(len(made.weights), state_bytes(program), scratch_bytes(program)),
        tolerance=_TOLERANCE,
        machine=machine,
    )


def _printed(program: Program, tiles: tuple[Tile, ...]) -> Printed:
    return whole(program, *tiles) if len(tiles) == 1 else cut_up(program, *tiles)
