"""Make the factor that the lanes of a dot product share unsigned, for instructions that want it so.

    sum of x w  =  sum of (x + 128) w  -  128 sum of w

The last sum is known beforehand: one constant for each lane. A rewrite from program to program, checked like
any other by executing both.
"""

from __future__ import annotations

from dataclasses import replace
from functools import reduce

import numpy as np
from numpy.lib.stride_tricks import as_strided

from millstream_runtime.lanes import Dot, dot_block
from millstream_runtime.packing import unpack
from millstream_runtime.program import (
    Access,
    Accumulated,
    Buffer,
    Call,
    Constant,
    Expression,
    Filled,
    Load,
    Program,
    Stage,
    rewrite,
)

#: Added to an int8 it gives a uint8.
OFFSET = 128
_ALIGNMENT = 64


def shift_dots(program: Program, weights: bytes) -> Filled:
    """Shift the shared factor of every blocked dot product whose other factor is constant."""
    buffers = {buffer.name: buffer for buffer in program.buffers}
    stages, added, blob = list(program.stages), [], bytearray(weights)
    for number, stage in enumerate(program.stages):
        dot = dot_block(stage)
        if dot is None or dot.offset or buffers[dot.own.access.buffer].role != "constant":
            continue
        own = buffers[dot.own.access.buffer]
        values = np.frombuffer(weights, own.dtype, own.size, own.offset)
        sums, place = _sums(stage, dot, values, f"{own.name}.shift.{number}")
        blob += bytes(-len(blob) % _ALIGNMENT)
        added.append(Buffer(place.buffer, "constant", "int32", sums.size, len(blob)))
        blob += (-OFFSET * sums).astype(np.int32).tobytes()
        stages[number] = _shifted(stage, dot, Load(place, "int32"))
    program = replace(
        program, buffers=(*program.buffers, *added), stages=tuple(stages), weight_bytes=len(blob)
    )
    return Filled(program, bytes(blob))


def _sums(stage: Stage, dot: Dot, values: np.ndarray, name: str) -> tuple[np.ndarray, Access]:
    """The sum of the weights of each point of the stage, and where a point finds its own."""
    access, outer = dot.own.access, len(stage.extents)
    extents = stage.all_extents
    kept = [axis for axis in range(outer) if access.strides[axis] and extents[axis] > 1]
    walked = [*kept, *range(outer, len(extents))]
    shape = [extents[axis] for axis in walked]
    # A byte of several weights has several terms.
    whole = unpack(values, dot.bits).sum(axis=0, dtype=np.int32)
    steps = [access.strides[axis] * whole.itemsize for axis in walked]
    terms = as_strided(whole[access.offset :], shape, steps)
    sums = terms.sum(axis=tuple(range(len(kept), len(walked))), dtype=np.int32)
    strides, stride = [0] * outer, 1
    for axis in reversed(kept):
        strides[axis] = stride
        stride *= extents[axis]
    return sums, Access(name, 0, tuple(strides))


def _shifted(stage: Stage, dot: Dot, correction: Load) -> Stage:
    if stage.reduction is None:
        return stage
    products: list[Expression] = []
    for part, factor in enumerate(dot.shared):
        shared = Call("add", (_wide(factor), Constant(OFFSET, "int32")), "int32")
        products.append(Call("multiply", (shared, _wide(dot.weight(part))), "int32"))
    operand = reduce(lambda x, y: Call("add", (x, y), "int32"), products)
    total = Call("add", (Accumulated("int32"), correction), "int32")

    def visit(part: Expression) -> Expression | None:
        return total if isinstance(part, Accumulated) else None

    return replace(
        stage, reduction=replace(stage.reduction, operand=operand), value=rewrite(stage.value, visit)
    )


def _wide(factor: Expression) -> Call:
    return Call("cast", (factor,), "int32")
