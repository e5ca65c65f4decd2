"""Pass: store an element where it is read first.

Matches a map whose result a reduction reads in full, each element once and before anyone else: a state that
is written and then read out, a sum of two branches that is then normalized. The reduction computes the
element, keeps it, and goes on with it: one pass over memory instead of two.
"""

from __future__ import annotations

from dataclasses import replace

from millstream.lower.affine import follow, move, move_access
from millstream.lower.draft import Draft, loads_of
from millstream_runtime.program import Access, Expression, Kept, Load, Stage, Stored, rewrite


def keep_stores(draft: Draft) -> Draft:
    """Move every such map into the reduction that reads it first."""
    number = 0
    while number < len(draft.stages):
        moved = _moved(draft, number)
        if moved is None:
            number += 1
        else:
            draft = moved
    return draft


def _moved(draft: Draft, number: int) -> Draft | None:
    """The draft without the map that stage `number` takes over, or None when there is none."""
    stage = draft.stages[number]
    if stage.reduction is None or stage.reduction.kept:
        return None
    for name in dict.fromkeys(load.access.buffer for load in loads_of(stage.reduction.operand)):
        writer = _first_read_here(draft, name, number)
        if writer is None:
            continue
        merged = _merged(stage, draft.stages[writer], name)
        if merged:
            stages = [*draft.stages[:writer], *draft.stages[writer + 1 : number], merged]
            return replace(draft, stages=(*stages, *draft.stages[number + 1 :]))
    return None


def _first_read_here(draft: Draft, name: str, number: int) -> int | None:
    """The one stage that writes a buffer, when it is a map and no stage before `number` reads it."""
    writers = draft.writers[name]
    if len(writers) != 1 or draft.stages[writers[0]].reduction:
        return None
    return writers[0] if min(use.stage for use in draft.uses[name]) == number else None


def _merged(reader: Stage, writer: Stage, name: str) -> Stage | None:
    """The reduction with the map's value in the place of the loads of its buffer."""
    reduction = reader.reduction
    if reduction is None:
        return None
    extents = reader.extents + reduction.extents
    accesses = {load.access for load in loads_of(reduction.operand) if load.access.buffer == name}
    if len(accesses) != 1 or name in {load.access.buffer for load in loads_of(reader.value)}:
        return None
    access = accesses.pop()
    # Only along the innermost axis are neighbours stored as one vector.
    if access.lookups or access.strides[-1] != 1 or not _covers(access, extents, writer):
        return None
    axes = follow(access, extents, writer.target, writer.extents)
    if axes is None:
        return None
    kept = Kept(move(writer.value, axes, len(extents)), move_access(writer.target, axes, len(extents)))

    def visit(part: Expression) -> Expression | None:
        if isinstance(part, Load) and part.access.buffer == name:
            return Stored(part.dtype)
        return None

    operand = rewrite(reduction.operand, visit)
    return replace(reader, reduction=replace(reduction, operand=operand, kept=kept))


def _covers(access: Access, extents: tuple[int, ...], writer: Stage) -> bool:
    """Whether every element that is written is read, and once: each way is affine in the other."""
    return follow(writer.target, writer.extents, access, extents) is not None
