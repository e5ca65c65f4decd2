"""A lowered program made ready for the printer: cut into lanes and packed as a class of machines wants it."""

from __future__ import annotations

from millstream.targets.blocks import Blocked, block
from millstream.targets.tvm.levels import Level
from millstream_runtime.program import Program
from millstream_runtime.unsigned import shift_dots


def pack(program: Program, weights: bytes, level: Level) -> Blocked:
    """The program and its weights for a level; serial loops read the weights as they are."""
    if level.lanes == 1:
        return Blocked(program, weights)
    laid = block(program, weights, level.lanes)
    if not level.dot.unsigned:
        return laid
    shifted = shift_dots(laid.program, laid.weights)
    return Blocked(shifted.program, shifted.weights)
