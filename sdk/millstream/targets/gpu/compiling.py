"""What the compile halves for GPUs share: the ways to step few streams and many, and the files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from millstream.targets.gpu import choosing
from millstream.targets.gpu.columns import columns
from millstream.targets.gpu.forms import Tile
from millstream.targets.gpu.placing import scratch_bytes
from millstream.targets.gpu.script import Printed, cut_up, whole
from millstream_runtime.backends.gpu.layout import Layout, Way, dump
from millstream_runtime.program import Program
from millstream_runtime.spec import Tolerance

TOLERANCE = Tolerance(
    relative=1e-5,
    absolute=1e-7,
    reason="float32 sums in another order and fused multiply-adds; exp, tanh and erf to a few ulp",
)


@dataclass(frozen=True)
class Choice:
    """A way to print a step, `whole` or `cut_up` by its tiles, for at least so many streams."""

    least: int
    tiles: tuple[Tile, ...]


@dataclass(frozen=True)
class Kernels:
    """The functions of a step, its layout, and its weights."""

    functions: tuple[str, ...]
    layout: bytes
    weights: bytes


def kernels(program: Program, weights: bytes, choices: Sequence[Choice], scope: str, shared: int) -> Kernels:
    """A lowered program as kernels with no more than `shared` bytes of shared memory in a block.

    A choice that asks for more is left out.
    """
    filled = columns(program, weights)
    program = filled.program
    functions: dict[str, None] = dict.fromkeys(choosing.functions())
    ways = []
    for choice in choices:
        printed = _printed(program, choice.tiles, scope)
        if printed.shared_bytes <= shared:
            functions |= dict.fromkeys(printed.functions)
            ways.append(Way(choice.least, printed.launches))
    layout = Layout(program.callers, scratch_bytes(program), program.weight_bytes, tuple(ways))
    return Kernels(tuple(functions), dump(layout), filled.weights)


def _printed(program: Program, tiles: tuple[Tile, ...], scope: str) -> Printed:
    return whole(program, *tiles, scope) if len(tiles) == 1 else cut_up(program, *tiles, scope)


