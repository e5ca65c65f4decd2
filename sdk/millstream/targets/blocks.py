"""Cut a program's sums into blocks of vector lanes, and lay its weights out in the order they are read.

A rewrite from program to program, checked like any other by executing both. A sum whose terms may be
computed side by side for the points of one axis gets that axis last, cut into a few widths:

    y[n] = sum over k of w[n, k] * x[k]            for n < 200
    y[b * 128 + l] = sum over k of v[b, k, l] * x[k]    for b < 1, l < 128, and the same for the rest of 72

with v the weights repacked so that the loops read them from front to back. A printer then has vectors by
taking the last axis as lanes (`is_blocked` says where it may). The sum of an int8 product is also cut into
groups of `DOT`, which lie side by side behind the lanes (`dot_block`):

    y[b * 64 + l] = sum over j, and k < 4, of int32(v[b, j, l, k]) * int32(x[j * 4 + k])
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace

import numpy as np
from numpy.lib.stride_tricks import as_strided

from millstream.lower.draft import stage_uses
from millstream.targets.constants import constant_arrays, with_constants
from millstream.targets.padding import dot_axis, pad_dots
from millstream_runtime.lanes import DOT, MIN_LANES, chunks, dot_factors, loads, vector_operand
from millstream_runtime.program import (
    Access,
    AxisIndex,
    Call,
    Constant,
    Expression,
    Filled,
    Load,
    Program,
    Stage,
    rewrite,
)


def block(program: Program, weights: bytes, lanes: int) -> Filled:
    """Block every float32 sum and every sum of int8 products that has an axis to do it on; `lanes` float32
    fill one vector register."""
    padded = pad_dots(program, weights)
    program = padded.program
    packer = Packer(program, padded.weights)
    stages: list[Stage] = []
    for stage in program.stages:
        axis = _lane_axis(stage, packer.constants)
        stages += [packer.pack_map(stage)] if axis is None else _split(stage, axis, lanes, packer)
    return with_constants(replace(program, stages=tuple(stages)), packer.read_by(stages))


def _lane_axis(stage: Stage, constants: Collection[str]) -> int | None:
    """The longest axis of the stage on which weights can be repacked and all else is contiguous."""
    if stage.reduction and stage.reduction.kept:
        return None
    operand = vector_operand(stage)
    is_dot = dot_axis(stage, constants) is not None
    terms = loads(operand) if operand else list(dot_factors(stage) or ()) if is_dot else []
    # The lanes of a dot product hold groups of weights: what they share cannot be a vector too.
    steps = (0,) if is_dot else (0, 1)

    def fits(axis: int) -> bool:
        strides = [(load.access.buffer in constants, load.access.strides[axis]) for load in terms]
        return any(stride for _, stride in strides) and all(
            constant or stride in steps for constant, stride in strides
        )

    axes = [axis for axis, extent in enumerate(stage.extents) if extent >= MIN_LANES and fits(axis)]
    return max(axes, key=lambda axis: stage.extents[axis], default=None)


def _split(stage: Stage, axis: int, lanes: int, packer: Packer) -> list[Stage]:
    """One stage per width; their axes are the others, the blocks, the lanes, then the reduction's."""
    stages = []
    for start, count, width in chunks(stage.extents[axis], lanes):
        part, inside = _part(stage, axis, start, count, width), 0
        if width < MIN_LANES:
            # Too few lanes for a vector, and it is the sum that gets vectorised.
            stages.append(packer.pack(part, range(len(part.all_extents))))
            continue
        group = dot_axis(part, packer.constants)
        if group is not None:
            part, inside = grouped(part, group), 1
        stages.append(packer.pack(part, lanes_behind(part, inside)))
    return stages


def lanes_behind(stage: Stage, inside: int = 0) -> list[int]:
    """The order of a stage's axes with its own last one behind those of the sum but `inside` many."""
    lanes = len(stage.extents) - 1
    order = [axis for axis in range(len(stage.all_extents)) if axis != lanes]
    order.insert(len(order) - inside, lanes)
    return order


def grouped(stage: Stage, axis: int) -> Stage:
    """The stage with one axis of its sum cut into groups, and the axis within a group moved last."""
    reduction = stage.reduction
    if reduction is None:
        return stage

    def place(access: Access) -> Access:
        strides = list(access.strides)
        stride = strides[axis]
        strides[axis] = stride * DOT
        return replace(access, strides=(*strides, stride))

    extents = list(reduction.extents)
    extents[axis - len(stage.extents)] //= DOT
    operand = _moved(reduction.operand, place, lambda index: index)
    return replace(stage, reduction=replace(reduction, extents=(*extents, DOT), operand=operand))


def _part(stage: Stage, axis: int, start: int, count: int, width: int) -> Stage:
    """The points `start` to `start + count * width` of one axis, cut in two and moved last."""
    outer = len(stage.extents)

    def place(access: Access) -> Access:
        strides = list(access.strides)
        stride = strides.pop(axis)
        strides[outer - 1 : outer - 1] = [stride * width, stride]
        return replace(access, offset=access.offset + stride * start, strides=tuple(strides))

    def index(old: AxisIndex) -> Expression:
        if old.axis == axis:
            return _sum(_scaled(AxisIndex(outer - 1), width), AxisIndex(outer), start)
        return AxisIndex(old.axis - (axis < old.axis < outer) + (old.axis >= outer))

    extents = [extent for other, extent in enumerate(stage.extents) if other != axis]
    return with_axes(stage, (*extents, count, width), place, index)


def with_axes(
    stage: Stage,
    extents: tuple[int, ...],
    place: Callable[[Access], Access],
    index: Callable[[AxisIndex], Expression],
) -> Stage:
    """A stage that keeps nothing of its sum, with other axes of its own: every address and every axis index
    in it as `place` and `index` say it on them."""
    reduction = stage.reduction and replace(
        stage.reduction, operand=_moved(stage.reduction.operand, place, index)
    )
    value = _moved(stage.value, place, index)
    return replace(stage, extents=extents, reduction=reduction, value=value, target=place(stage.target))


def _moved(
    expression: Expression, place: Callable[[Access], Access], index: Callable[[AxisIndex], Expression]
) -> Expression:
    """Rewrite every address and every axis index."""

    def visit(part: Expression) -> Expression | None:
        match part:
            case Load():
                lookups = tuple(replace(x, index=rewrite(x.index, visit)) for x in part.access.lookups)
                return replace(part, access=place(replace(part.access, lookups=lookups)))
            case AxisIndex():
                return index(part)
        return None

    return rewrite(expression, visit)


def _scaled(index: AxisIndex, factor: int) -> Expression:
    return Call("multiply", (index, Constant(factor, "int64")), "int64")


def _sum(blocks: Expression, lane: AxisIndex, start: int) -> Expression:
    within = Call("add", (blocks, lane), "int64")
    return Call("add", (within, Constant(start, "int64")), "int64")


class Packer:
    """The constants of a program, and those that its blocked stages read instead."""

    def __init__(self, program: Program, weights: bytes) -> None:
        self._packed: dict[tuple[str, int, tuple[tuple[int, int], ...]], str] = {}
        self.constants = constant_arrays(program, weights)

    def pack(self, stage: Stage, order: Sequence[int]) -> Stage:
        """The stage with its operand's weights in the order that its loops read them, outermost first."""
        reduction = stage.reduction
        if reduction is None:
            return stage
        operand = self._packed_expression(reduction.operand, stage.extents + reduction.extents, order)
        return replace(stage, reduction=replace(reduction, operand=operand))

    def pack_map(self, stage: Stage) -> Stage:
        """The stage, when it is a map, with its constants in the order that its loops read them."""
        if stage.reduction:
            return stage
        order = list(range(len(stage.extents)))
        return replace(stage, value=self._packed_expression(stage.value, stage.extents, order))

    def _packed_expression(
        self, expression: Expression, extents: tuple[int, ...], order: Sequence[int]
    ) -> Expression:
        def visit(part: Expression) -> Expression | None:
            if not isinstance(part, Load) or part.access.buffer not in self.constants or part.access.lookups:
                return None
            return replace(part, access=self._repack(part.access, extents, order))

        return rewrite(expression, visit)

    def _repack(self, access: Access, extents: tuple[int, ...], order: Sequence[int]) -> Access:
        """A new constant holding exactly what `access` reads, in `order` of the axes."""
        used = [axis for axis in order if access.strides[axis] and extents[axis] > 1]
        walk = _merged((extents[axis], access.strides[axis]) for axis in used)
        name = self._name(access.buffer, access.offset, walk)
        strides, stride = [0] * len(extents), 1
        for axis in reversed(used):
            strides[axis] = stride
            stride *= extents[axis]
        return Access(name, 0, tuple(strides))

    def _name(self, source: str, offset: int, walk: tuple[tuple[int, int], ...]) -> str:
        """The constant holding what a walk through `source` reads; stages that read the same share it."""
        key = (source, offset, walk)
        if key not in self._packed:
            self._packed[key] = f"{source}#{len(self._packed)}"
            flat = self.constants[source][offset:]
            shape, strides = [extent for extent, _ in walk], [stride * flat.itemsize for _, stride in walk]
            self.constants[self._packed[key]] = as_strided(flat, shape, strides).ravel()
        return self._packed[key]

    def read_by(self, stages: Sequence[Stage]) -> dict[str, np.ndarray]:
        """Only those constants that are still read."""
        read = {load.access.buffer for stage in stages for load in _all_loads(stage)}
        return {name: values for name, values in self.constants.items() if name in read}


def _merged(walk: Iterable[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Loops as (extent, stride), with those joined that walk on as one: one way to say the same walk."""
    merged: list[tuple[int, int]] = []
    for extent, stride in walk:
        if merged and merged[-1][1] == extent * stride:
            merged[-1] = (merged[-1][0] * extent, stride)
        else:
            merged.append((extent, stride))
    return tuple(merged)


def _all_loads(stage: Stage) -> list[Load]:
    return [use.load for use in stage_uses(0, stage)]
