"""Where a step is cut into kernels.

Each product with many weights is a kernel of its own, whose tiles are `wide` enough to read weights for many
streams, or frames of one stream, at once, or whose blocks spread over all of a device where these are few;
what lies between two of them is one kernel, with `narrow` tiles.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from math import prod

from millstream.targets.gpu.forms import Tile
from millstream.targets.gpu.items import Items
from millstream.targets.gpu.pieces import Piece, Pieces, keeping
from millstream.targets.gpu.placing import of_streams
from millstream.targets.gpu.prefill import Unrolled, is_apart
from millstream_runtime.lanes import loads
from millstream_runtime.program import Program, Stage

#: Products of one stream with weights that are worth a kernel of their own.
_MANY_PRODUCTS = 8192
#: Threads of a block that has no work for all that its tile may have.
_THREADS = (256, 128, 64)


def cut_up(program: Program, wide: Tile, narrow: Tile, shared: int) -> Pieces:
    """The step of many streams, or of one, whose blocks may have `shared` bytes of shared memory."""
    return keeping(program, _pieces(program, program.stages, wide, narrow), shared)


def cut_up_frames(unrolled: Unrolled, wide: Tile, narrow: Tile, shared: int) -> Pieces:
    """The same for the frames of one stream; `narrow` is a tile of one."""
    return keeping(unrolled.program, _pieces_of_frames(unrolled, wide, narrow), shared)


def _pieces_of_frames(unrolled: Unrolled, wide: Tile, narrow: Tile) -> Iterator[Piece]:
    program = unrolled.program
    for run in unrolled.runs:
        if not run.in_turn:
            yield from _pieces(program, run.stages, wide, narrow)
        elif len(run.stages) == 1 and is_apart(run.stages[0], program):
            yield Piece(run.stages, replace(wide, streams=1), apart=True, turns=unrolled.frames)
        else:
            yield Piece(run.stages, narrow, apart=False, turns=unrolled.frames)


def _pieces(program: Program, stages: Iterable[Stage], wide: Tile, narrow: Tile) -> Iterator[Piece]:
    """The stages in order, those with many weights alone."""
    group: list[Stage] = []
    for stage in stages:
        if is_large(stage, program):
            if group:
                yield _between(group, program, narrow)
            yield Piece([stage], _fitting(stage, program, wide), apart=True)
            group = []
        else:
            group.append(stage)
    if group:
        yield _between(group, program, narrow)


def _between(stages: Sequence[Stage], program: Program, narrow: Tile) -> Piece:
    """Stages with few weights, and no more threads than have something to do in one of them: others would
    keep further blocks away."""
    owns = [of_streams(stage, narrow.streams, program) for stage in stages]
    busy = max(Items(own, narrow).busy for own in owns)
    threads = next(count for count in (*_THREADS[::-1], narrow.threads) if busy <= count)
    return Piece(stages, replace(narrow, threads=min(threads, narrow.threads)), apart=len(stages) == 1)


def _fitting(stage: Stage, program: Program, wide: Tile) -> Tile:
    """A tile of as many streams with no more threads than have a whole sum to do, where that can be."""
    own = of_streams(stage, wide.streams, program)
    threads = [count for count in _THREADS if count <= wide.threads]
    tiles = (replace(wide, threads=count) for count in threads)
    return next((tile for tile in tiles if not Items(own, tile).form.shared), wide)


def is_large(stage: Stage, program: Program) -> bool:
    """Whether a stage multiplies with many weights."""
    constants = {buffer.name for buffer in program.role("constant")}
    terms = loads(stage.reduction.operand) if stage.reduction else []
    weights = any(load.access.buffer in constants for load in terms)
    return weights and prod(stage.all_extents) >= _MANY_PRODUCTS
