"""A step cut into pieces, each of which becomes a kernel, and where the scratch of each lies.

What one kernel alone writes and reads lies in the memory that the threads of a block share, as far as that
has room; what several kernels touch lies in the device's memory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from millstream.targets.gpu.forms import Tile
from millstream.targets.gpu.items import Items, meeting_bytes
from millstream.targets.gpu.placing import of_streams, scratch_bytes
from millstream_runtime.arena import place_scratch
from millstream_runtime.program import Program, Stage, buffer_bytes, loaded, stored_into

#: Threads whose blocks have room on a multiprocessor together, half of the most that it runs: shared memory
#: keeps no more of them away than the registers of most kernels do.
_AT_ONCE = 1024
#: Shared memory that each block takes beside its own.
_OF_THE_SYSTEM = 1 << 10
_NOTHING = Program((), (), 0, 0)


@dataclass(frozen=True)
class Piece:
    """Stages that follow each other, for one kernel: a block serves a tile of streams.

    A stage whose rounds are `apart` needs nothing in one of them of another, and each gets a block. With
    several `turns` the rows are that many frames of one stream, which a block takes one after the other.
    `kept` has the scratch in shared memory, for one stream.
    """

    stages: Sequence[Stage]
    tile: Tile
    apart: bool
    turns: int = 1
    kept: Program = _NOTHING


@dataclass(frozen=True)
class Pieces:
    """All stages of a step in order; `program` has all buffers but those that a piece keeps."""

    program: Program
    pieces: tuple[Piece, ...]


def keeping(program: Program, pieces: Iterable[Piece], shared: int) -> Pieces:
    """Pieces of a program, each keeping what it alone touches; a block may have `shared` bytes."""
    pieces = tuple(pieces)
    users = Counter(name for piece in pieces for name in _touched(piece))
    own = {buffer.name for buffer in program.role("scratch") if users[buffer.name] == 1}
    pieces = tuple(replace(piece, kept=_kept(piece, program, own, shared)) for piece in pieces)
    kept = {buffer.name for piece in pieces for buffer in piece.kept.buffers}
    buffers = tuple(buffer for buffer in program.buffers if buffer.name not in kept)
    stages = tuple(stage for piece in pieces for stage in piece.stages)
    return Pieces(place_scratch(replace(program, buffers=buffers, stages=stages)), pieces)


def _kept(piece: Piece, program: Program, own: set[str], shared: int) -> Program:
    """The scratch that a piece keeps: its largest buffers that there is room for together."""
    if piece.apart:
        return _NOTHING
    kept = replace(_NOTHING, stages=tuple(piece.stages))
    room = _room(piece.tile, shared) - _meeting(piece, program)
    touched = own & _touched(piece)
    candidates = [buffer for buffer in program.buffers if buffer.name in touched]
    for buffer in sorted(candidates, key=buffer_bytes, reverse=True):
        more = place_scratch(replace(kept, buffers=(*kept.buffers, buffer)))
        if piece.tile.streams * scratch_bytes(more) <= room:
            kept = more
    return kept


def _touched(piece: Piece) -> set[str]:
    return {name for stage in piece.stages for name in loaded(stage) | stored_into(stage)}


def _room(tile: Tile, shared: int) -> int:
    """Shared memory of a block beside which as many others have room."""
    return (shared + _OF_THE_SYSTEM) * tile.threads // _AT_ONCE - _OF_THE_SYSTEM


def _meeting(piece: Piece, program: Program) -> int:
    """Bytes of shared memory in which threads meet."""
    stages = [of_streams(stage, piece.tile.streams, program) for stage in piece.stages]
    return meeting_bytes(Items(stage, piece.tile) for stage in stages)
