"""Fill the sums of int8 products up to whole groups of `DOT`, so that dot products need no remainder.

Where the weights will share bytes, each of their parts is filled up.

A rewrite from program to program, checked like any other by executing both. What is added is zero times
zero: the weights get zeros behind each row, and the activations are copied to a place that ends in zeros.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np

from millstream.lower.view import row_major
from millstream.targets.constants import constant_arrays
from millstream_runtime.arena import ALIGNMENT
from millstream_runtime.lanes import DOT, dot_factors
from millstream_runtime.packing import bits_for, parts_of
from millstream_runtime.program import (
    Access,
    Buffer,
    Call,
    Constant,
    Expression,
    Filled,
    Load,
    Program,
    Reduction,
    Stage,
)


@dataclass(frozen=True)
class _Pad:
    """A stage, and how many products are missing on which axis of its sum."""

    stage: Stage
    axis: int
    missing: int

    def extent(self, axis: int) -> int:
        """How far an axis goes with what is added."""
        return self.stage.all_extents[axis] + (self.missing if axis == self.axis else 0)


def pad_dots(program: Program, weights: bytes) -> Filled:
    """Pad every sum of products of int8 activations and constant int8 weights."""
    made = Filled(program, weights)
    constants = constant_arrays(program, weights)
    stages: list[Stage] = []
    for stage in program.stages:
        factors, axis = dot_factors(stage), dot_axis(stage, constants)
        missing = 0
        if factors is not None and axis is not None:
            weight = next(load.access.buffer for load in factors if load.access.buffer in constants)
            missing = -stage.all_extents[axis] % (DOT * parts_of(bits_for(constants[weight])))
        if factors is None or axis is None or not missing:
            stages.append(stage)
            continue
        wanted = _Pad(stage, axis, missing)
        terms: list[Expression] = []
        for load in factors:
            pad = _constant if load.access.buffer in constants else _scratch
            made, before, padded = pad(made, wanted, load.access)
            stages += before
            terms.append(Call("cast", (Load(padded, "int8"),), "int32"))
        stages.append(_with_operand(wanted, Call("multiply", tuple(terms), "int32")))
    return replace(made, program=replace(made.program, stages=tuple(stages)))


def dot_axis(stage: Stage, constants: Collection[str]) -> int | None:
    """The summed axis that int8 activations are contiguous along, when the other factor is constant."""
    outer, found = len(stage.extents), None
    factors = dot_factors(stage) or ()
    activations = [load.access for load in factors if load.access.buffer not in constants]
    if stage.reduction and len(activations) == 1:
        for axis, extent in enumerate(stage.reduction.extents, outer):
            if extent > 1 and activations[0].strides[axis] == 1:
                found = axis
    return found


def _with_operand(pad: _Pad, operand: Expression) -> Stage:
    """The stage with a longer sum over another operand."""
    axes = range(len(pad.stage.extents), len(pad.stage.all_extents))
    return replace(pad.stage, reduction=Reduction("sum", tuple(map(pad.extent, axes)), operand))


def _place(name: str, pad: _Pad, access: Access) -> tuple[Access, list[int], list[int]]:
    """Where the padded copy of what a stage reads lies; the axes it has, and how far each goes."""
    extents = pad.stage.all_extents
    axes = [k for k, stride in enumerate(access.strides) if k == pad.axis or (stride and extents[k] > 1)]
    shape = [pad.extent(k) for k in axes]
    strides = [0] * len(extents)
    for k, stride in zip(axes, row_major(shape), strict=True):
        strides[k] = stride
    return Access(name, 0, tuple(strides)), axes, shape


def _constant(made: Filled, pad: _Pad, access: Access) -> tuple[Filled, list[Stage], Access]:
    """A constant with zeros at the end of the axis."""
    padded, axes, shape = _place(f"padded.{len(made.program.buffers)}", pad, access)
    source = made.program.buffer(access.buffer)
    values = np.frombuffer(made.weights, source.dtype, source.size, source.offset)
    address = np.array(access.offset)
    for k in axes:
        address = np.add.outer(address, np.arange(pad.stage.all_extents[k]) * access.strides[k])
    ends = [(0, size - extent) for size, extent in zip(shape, address.shape, strict=True)]
    array = np.pad(values[address], ends)
    begin = made.weights + bytes(-len(made.weights) % ALIGNMENT)
    buffer = Buffer(padded.buffer, "constant", source.dtype, array.size, len(begin))
    blob = begin + array.tobytes()
    program = replace(made.program, buffers=(*made.program.buffers, buffer), weight_bytes=len(blob))
    return Filled(program, blob), [], padded


def _scratch(made: Filled, pad: _Pad, access: Access) -> tuple[Filled, list[Stage], Access]:
    """A copy in scratch with zeros at the end of the axis, and the two stages that make it."""
    padded, axes, shape = _place(f"padded.{len(made.program.buffers)}", pad, access)
    begin = made.program.scratch_bytes
    end = begin + int(np.prod(shape))
    buffer = Buffer(padded.buffer, "scratch", "int8", end - begin, begin)
    program = replace(
        made.program,
        buffers=(*made.program.buffers, buffer),
        scratch_bytes=end + -end % ALIGNMENT,
    )
    extents = [pad.stage.all_extents[k] for k in axes]
    place = axes.index(pad.axis)
    rest = [*extents[:place], pad.missing, *extents[place + 1 :]]
    source = replace(access, strides=tuple(access.strides[k] for k in axes))
    target = Access(padded.buffer, 0, tuple(padded.strides[k] for k in axes))
    behind = replace(target, offset=extents[place] * target.strides[place])
    stages = [
        Stage(pad.stage.origin, tuple(extents), None, Load(source, "int8"), target),
        Stage(pad.stage.origin, tuple(rest), None, Constant(0, "int8"), behind),
    ]
    return replace(made, program=program), stages, padded
