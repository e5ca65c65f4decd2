"""Pass: store where the copy would have gone.

Matches a stage that only copies a scratch buffer somewhere else; every stage that touched the scratch
buffer uses the destination instead, and the copy disappears. This is what writes next states, outputs
and the parts of a concatenation directly.
"""

from __future__ import annotations

from dataclasses import replace

from millstream.lower.affine import follow, move_access
from millstream.lower.draft import Draft
from millstream_runtime.program import Access, Expression, Load, Stage, rewrite


def forward_stores(draft: Draft) -> Draft:
    """Remove copies one after the other until none can be removed."""
    number = 0
    while number < len(draft.stages):
        forwarded = _forwarded(draft, number)
        if forwarded is None:
            number += 1
        else:
            draft = forwarded
    return draft


def _forwarded(draft: Draft, number: int) -> Draft | None:
    copy = draft.stages[number]
    if copy.reduction or not isinstance(copy.value, Load) or copy.value.access.lookups:
        return None
    name = copy.value.access.buffer
    if not draft.is_scratch(name) or name == copy.target.buffer:
        return None
    touching = {*draft.writers[name], *(use.stage for use in draft.uses[name])} - {number}
    stages: list[Stage | None] = list(draft.stages)
    for other in touching:
        stages[other] = _redirected(draft.stages[other], copy)
        if stages[other] is None:
            return None
    stages[number] = None
    return replace(draft, stages=tuple(stage for stage in stages if stage is not None))


def _redirected(stage: Stage, copy: Stage) -> Stage | None:
    """The stage with every address in the copied buffer replaced, or None when one cannot be."""
    if not isinstance(copy.value, Load):
        return None
    source = copy.value.access
    failed = False

    def redirect(access: Access, extents: tuple[int, ...]) -> Access:
        nonlocal failed
        axes = follow(access, extents, source, copy.extents)
        if axes is None:
            failed = True
            return access
        return move_access(copy.target, axes, len(extents))

    def visit(expression: Expression, extents: tuple[int, ...]) -> Expression | None:
        if isinstance(expression, Load) and expression.access.buffer == source.buffer:
            return replace(expression, access=redirect(expression.access, extents))
        return None

    reduction = stage.reduction
    if reduction:
        inner = stage.extents + reduction.extents
        reduction = replace(reduction, operand=rewrite(reduction.operand, lambda e: visit(e, inner)))
    value = rewrite(stage.value, lambda e: visit(e, stage.extents))
    target = stage.target
    if target.buffer == source.buffer:
        target = redirect(target, stage.extents)
    return None if failed else replace(stage, reduction=reduction, value=value, target=target)
