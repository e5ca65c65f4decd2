"""Put constant int8 weights that need no more than 4 or 2 bits into as many.

A rewrite from program to program, checked like any other by executing both. A sum over an axis is cut into
parts that are added up side by side, so that the weights of all parts lie in one byte:

    y[n] = sum over k < 64 of w[n, k] * x[k]
    y[n] = sum over k < 32 of low(v[n, k]) * x[k] + high(v[n, k]) * x[k + 32]

Nothing is lost, whatever the weights come from: every int4 or ternary weight of a graph ends here.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np

from millstream.lower.draft import stage_uses
from millstream.lower.view import row_major
from millstream.targets.constants import constant_arrays, with_constants
from millstream_runtime.lanes import dot_block, loads
from millstream_runtime.packing import bits_for, pack, parts_of, unpacked
from millstream_runtime.program import (
    Access,
    AxisIndex,
    Call,
    Constant,
    Expression,
    Filled,
    Load,
    Program,
    Reduction,
    Stage,
    rewrite,
)


@dataclass(frozen=True)
class _Choice:
    """The weight that a stage packs, the axis it is packed along, and the bits of each."""

    load: Load
    axis: int
    bits: int


def pack_weights(program: Program, weights: bytes) -> Filled:
    """Pack every constant that one sum alone reads, where an axis of the sum can be cut."""
    values = constant_arrays(program, weights)
    uses = Counter(use.load.access.buffer for stage in program.stages for use in stage_uses(0, stage))
    alone = {name: array for name, array in values.items() if uses[name] == 1 and array.dtype == np.int8}
    stages: list[Stage] = []
    for stage in program.stages:
        choice = _choice(stage, alone)
        if choice:
            name = choice.load.access.buffer
            stage, values[name] = _packed(stage, choice, values[name])
        stages.append(stage)
    return with_constants(replace(program, stages=tuple(stages)), values)


def _choice(stage: Stage, alone: Mapping[str, np.ndarray]) -> _Choice | None:
    """What to pack of a stage, if anything."""
    reduction = stage.reduction
    if reduction is None or reduction.kind != "sum" or reduction.kept:
        return None
    for load in loads(reduction.operand):
        access = load.access
        if access.buffer in alone and not access.lookups and _reads_all(stage, access, alone[access.buffer]):
            for bits in _possible(alone[access.buffer]):
                for axis in _cuttable(stage, access):
                    if stage.all_extents[axis] % parts_of(bits) == 0:
                        return _Choice(load, axis, bits)
    return None


def _possible(values: np.ndarray) -> Iterator[int]:
    """Bits that hold the values, the fewest first."""
    fewest = bits_for(values)
    yield from (bits for bits in (2, 4) if bits >= fewest)


def _reads_all(stage: Stage, access: Access, values: np.ndarray) -> bool:
    """Whether the stage reads every weight, each at one place of its own."""
    used = _used(stage, access)
    strides = [access.strides[axis] for axis in used]
    shape = [stage.all_extents[axis] for axis in used]
    return access.offset == 0 and math.prod(shape) == values.size and tuple(strides) == row_major(shape)


def _used(stage: Stage, access: Access) -> list[int]:
    """The axes that move the address, the slowest first."""
    moving = [axis for axis, extent in enumerate(stage.all_extents) if access.strides[axis] and extent > 1]
    return sorted(moving, key=lambda axis: -access.strides[axis])


def _cuttable(stage: Stage, access: Access) -> list[int]:
    """The axes of the sum along which the weights lie, the innermost first; not the groups of a dot
    product."""
    axes = range(len(stage.extents), len(stage.all_extents) - (dot_block(stage) is not None))
    return [axis for axis in reversed(axes) if access.strides[axis]]


def _packed(stage: Stage, choice: _Choice, values: np.ndarray) -> tuple[Stage, np.ndarray]:
    """The stage on packed weights, and those."""
    access, parts = choice.load.access, parts_of(choice.bits)
    used, extents, reduction = _used(stage, access), list(stage.all_extents), stage.reduction
    cut = used.index(choice.axis)
    shape = [extents[axis] for axis in used]
    shape[cut : cut + 1] = [parts, shape[cut] // parts]
    bytes_ = pack(np.moveaxis(values.reshape(shape), cut, 0), choice.bits)
    extents[choice.axis] //= parts
    strides = [0] * len(extents)
    for axis, stride in zip(used, row_major(bytes_.shape), strict=True):
        strides[axis] = stride
    packed = Load(Access(access.buffer, 0, tuple(strides)), "uint8")
    if reduction is None:
        raise ValueError("only sums are packed")
    terms = [
        _part(reduction.operand, choice, part * extents[choice.axis], unpacked(packed, choice.bits, part))
        for part in range(parts)
    ]
    operand = reduce(lambda x, y: Call("add", (x, y), x.dtype), terms)
    inner = tuple(extents[len(stage.extents) :])
    return replace(stage, reduction=Reduction("sum", inner, operand)), bytes_.ravel()


def _part(operand: Expression, choice: _Choice, begin: int, weight: Expression) -> Expression:
    """The operand so far behind on the axis that is cut, with `weight` for the weight."""

    def visit(part: Expression) -> Expression | None:
        if part == choice.load:
            return weight
        match part:
            case Load():
                access = part.access
                lookups = tuple(replace(x, index=rewrite(x.index, visit)) for x in access.lookups)
                offset = access.offset + begin * access.strides[choice.axis]
                return replace(part, access=replace(access, offset=offset, lookups=lookups))
            case AxisIndex() if part.axis == choice.axis:
                return Call("add", (part, Constant(begin, "int64")), "int64")
        return None

    return rewrite(operand, visit)
