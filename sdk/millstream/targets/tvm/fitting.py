"""A lowered program fitted to a class of machines: cut into lanes, its weights packed as they are read."""

from __future__ import annotations

from millstream.targets.blocks import block
from millstream.targets.packed_weights import pack_weights
from millstream.targets.tvm.levels import Level
from millstream_runtime.program import Filled, Program
from millstream_runtime.unsigned import shift_dots


def fit(program: Program, weights: bytes, level: Level) -> Filled:
    """The program and its weights for a level; serial loops have no lanes to cut into."""
    if level.lanes > 1:
        blocked = block(program, weights, level.lanes)
        program, weights = blocked.program, blocked.weights
    packed = pack_weights(program, weights)
    program, weights = packed.program, packed.weights
    if level.dot.unsigned:
        shifted = shift_dots(program, weights)
        program, weights = shifted.program, shifted.weights
    return Filled(program, weights)
