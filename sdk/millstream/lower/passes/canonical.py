"""Pass: the fewest axes that say the same loop nest.

Axes of extent 1 go; neighbours that every address walks as one are merged. Printers then see the long
contiguous loops that compilers turn into vectors.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from millstream.lower.affine import Affine, move, move_access
from millstream.lower.draft import Draft, addresses
from millstream_runtime.program import Access, AxisIndex, Stage, walk


def canonical(draft: Draft) -> Draft:
    """Simplify the axes of every stage."""
    return replace(draft, stages=tuple(_simplified(stage) for stage in draft.stages))


def _simplified(stage: Stage) -> Stage:
    outer = len(stage.extents)
    extents = stage.all_extents
    groups = _groups(extents, outer, _full_accesses(stage, len(extents)), _indexed(stage))
    if len(groups) == len(extents):
        return stage
    axes = _old_axes(groups, extents)
    kept_outer = sum(group[0] < outer for group in groups)
    total = len(groups)
    sizes = [math.prod(extents[k] for k in group) for group in groups]
    outer_axes = [Affine(axis.offset, axis.coefficients[:kept_outer]) for axis in axes[:outer]]
    reduction = stage.reduction
    if reduction:
        reduction = replace(
            reduction,
            extents=tuple(sizes[kept_outer:]) or (1,),
            operand=move(reduction.operand, _padded(axes, total, kept_outer), max(total, kept_outer + 1)),
        )
    return replace(
        stage,
        extents=tuple(sizes[:kept_outer]),
        reduction=reduction,
        value=move(stage.value, outer_axes, kept_outer),
        target=move_access(stage.target, outer_axes, kept_outer),
    )


def _padded(axes: Sequence[Affine], total: int, kept_outer: int) -> list[Affine]:
    """A reduction always keeps one axis, even when all of its axes have extent 1."""
    missing = max(total, kept_outer + 1) - total
    return [Affine(axis.offset, axis.coefficients + (0,) * missing) for axis in axes]


def _full_accesses(stage: Stage, rank: int) -> list[Access]:
    """Every address, with zero strides for the axes that it cannot see."""
    return [
        replace(access, strides=access.strides + (0,) * (rank - len(access.strides)))
        for access in addresses(stage)
    ]


def _indexed(stage: Stage) -> set[int]:
    """Axes whose running index is used as a value; they cannot be merged."""
    roots = [stage.value] + ([stage.reduction.operand] if stage.reduction else [])
    return {found.axis for root in roots for found in walk(root) if isinstance(found, AxisIndex)}


def _groups(
    extents: Sequence[int], outer: int, accesses: Sequence[Access], indexed: set[int]
) -> list[list[int]]:
    """Old axes of each new axis, outermost first."""
    groups: list[list[int]] = []
    for axis, extent in enumerate(extents):
        if extent == 1:
            continue
        last = groups[-1][-1] if groups else None
        mergeable = (
            last is not None
            and (last < outer) == (axis < outer)
            and not {last, axis} & indexed
            and all(access.strides[last] == access.strides[axis] * extent for access in accesses)
        )
        if mergeable:
            groups[-1].append(axis)
        else:
            groups.append([axis])
    return groups


def _old_axes(groups: Sequence[Sequence[int]], extents: Sequence[int]) -> list[Affine]:
    """Old axes in terms of new ones. Of a merged group only the innermost carries the new axis: its
    stride is the merged stride, and the outer ones of the group stand still at 0."""
    axes = [Affine(0, (0,) * len(groups))] * len(extents)
    for new, group in enumerate(groups):
        axes[group[-1]] = Affine(0, tuple(int(j == new) for j in range(len(groups))))
    return axes
