"""What the compile halves for GPUs share: the ways to step few streams and many, and the files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from millstream.targets import ANY_MACHINE, Compiled
from millstream.targets.gpu import choosing
from millstream.targets.gpu.columns import columns
from millstream.targets.gpu.cutting import cut_up, cut_up_frames
from millstream.targets.gpu.forms import Tile
from millstream.targets.gpu.nearing import near
from millstream.targets.gpu.paying import pays
from millstream.targets.gpu.placing import scratch_bytes
from millstream.targets.gpu.prefill import unroll
from millstream.targets.gpu.script import Known, Printed, in_pieces, whole
from millstream.targets.tools import require
from millstream.targets.tvm.build import missing_tvm
from millstream_runtime.backends.gpu.layout import Layout, Prefill, Way, dump
from millstream_runtime.chunked import FRAMES
from millstream_runtime.program import Filled, Program, state_bytes
from millstream_runtime.spec import Machine, Memory, Tolerance

_TOLERANCE = Tolerance(
    relative=1e-5,
    absolute=1e-7,
    reason="float32 sums in another order and fused multiply-adds; exp, tanh and erf to a few ulp",
)


@dataclass(frozen=True)
class Choice:
    """A way to print a step, `whole` or `cut_up` by its tiles, for at least so many streams."""

    least: int
    tiles: tuple[Tile, ...]


#: What every device has room for.
_ALWAYS = Choice(1, (Tile(1, 256), Tile(1, 256)))
#: For few streams and for many, and the shared memory of a block: every device has so much.
_PORTABLE = (_ALWAYS, Choice(64, (Tile(8, 256), Tile(1, 256))))
_PORTABLE_BYTES = 32 << 10
#: Products of few streams, or of frames that go together: threads of 64 blocks take part in each, as far as
#: it has work for them. Not timed on a card.
SPREAD = Tile(FRAMES, 256, spread=1 << 14)


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
    filled, known = laid_out(program, weights), Known()
    program = filled.program
    printed = {choice: _printed(program, choice.tiles, shared, known) for choice in choices}
    printed = {choice: each for choice, each in printed.items() if each.shared_bytes <= shared}
    if not any(choice.least <= 1 for choice in printed):
        printed[_ALWAYS] = _printed(program, _ALWAYS.tiles, shared, known)
    functions = dict.fromkeys(choosing.functions())
    for each in printed.values():
        functions |= dict.fromkeys(each.functions)
    alone = max((choice for choice in printed if choice.least <= 1), key=lambda choice: choice.least)
    frames, prefill = _frames(program, alone.tiles[-1], len(printed[alone].launches), shared, known)
    functions |= dict.fromkeys(frames)
    ways = tuple(Way(choice.least, each.launches) for choice, each in printed.items())
    scratch = max(each.scratch_bytes for each in printed.values())
    layout = Layout(program.callers, scratch, program.weight_bytes, ways, prefill)
    return Kernels(tuple(functions), dump(layout), filled.weights)


def laid_out(program: Program, weights: bytes) -> Filled:
    """A lowered program as its kernels take it: weights and stages in their order."""
    filled = columns(program, weights)
    return replace(filled, program=near(filled.program))


def _frames(
    program: Program, narrow: Tile, launches: int, shared: int, known: Known
) -> tuple[tuple[str, ...], Prefill | None]:
    """The functions for frames of one stream together, and their launches; none where its steps, of so many
    `launches`, are better."""
    unrolled = unroll(program, FRAMES)
    cut = cut_up_frames(unrolled, SPREAD, replace(narrow, streams=1), shared)
    printed = in_pieces(cut, known)
    if printed.shared_bytes > shared or not pays(unrolled, len(printed.launches), program, launches):
        return (), None
    return printed.functions, Prefill(FRAMES, printed.scratch_bytes, printed.launches)


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


def _printed(program: Program, tiles: tuple[Tile, ...], shared: int, known: Known) -> Printed:
    if len(tiles) == 1:
        return whole(program, *tiles)
    wide, narrow = tiles
    return in_pieces(cut_up(program, wide, narrow, shared), known)
