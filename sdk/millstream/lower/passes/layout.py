"""Pass: lay constants out in the order in which the loop reads them.

Matches a constant that one reduction walks with other than row-major strides (a transposed weight, say)
and stores it row-major in the loop's own axes, so that the innermost loop reads neighbours.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.lib.stride_tricks import as_strided

from millstream.lower.draft import Draft, Use
from millstream.lower.view import row_major
from millstream_runtime.program import Access, Buffer, Expression, rewrite


def order_constants(draft: Draft) -> Draft:
    """Lay out every constant that exactly one reduction reads, in that reduction's order."""
    for name in draft.arrays:
        uses = draft.uses[name]
        if len(uses) == 1 and uses[0].in_reduction and not uses[0].load.access.lookups:
            draft = _ordered(draft, name, uses[0])
    return draft


def _ordered(draft: Draft, name: str, use: Use) -> Draft:
    access = use.load.access
    walked = [axis for axis, stride in enumerate(access.strides) if stride]
    shape = [use.extents[axis] for axis in walked]
    strides = [access.strides[axis] for axis in walked]
    if tuple(strides) == row_major(shape) or min(strides, default=1) < 0:
        return draft
    flat = draft.arrays[name].reshape(-1)[access.offset :]
    steps = [stride * flat.itemsize for stride in strides]
    array = np.ascontiguousarray(as_strided(flat, shape, steps))
    if array.size > draft.arrays[name].size:
        return draft
    ordered = [0] * len(access.strides)
    for axis, stride in zip(walked, row_major(shape), strict=True):
        ordered[axis] = stride
    return _with_constant(draft, use, array, Access(name, 0, tuple(ordered)))


def _with_constant(draft: Draft, use: Use, array: np.ndarray, access: Access) -> Draft:
    stage = draft.stages[use.stage]
    if stage.reduction is None:
        return draft

    def visit(expression: Expression) -> Expression | None:
        return replace(use.load, access=access) if expression == use.load else None

    reduction, kept = stage.reduction, stage.reduction.kept
    reduction = replace(
        reduction,
        operand=rewrite(reduction.operand, visit),
        kept=kept and replace(kept, value=rewrite(kept.value, visit)),
    )
    stages = list(draft.stages)
    stages[use.stage] = replace(stage, reduction=reduction)
    buffers = tuple(
        Buffer(b.name, b.role, b.dtype, array.size) if b.name == access.buffer else b for b in draft.buffers
    )
    return Draft(buffers, tuple(stages), {**draft.arrays, access.buffer: array})
