"""Pass: compute an element where it is read, instead of storing it first.

Matches a load from a scratch buffer whose writer is a plain map; puts the writer's expression in the
load's place. Worth it when it costs no more arithmetic than before: every element is read once, or its
expression is cheap and the reading loop does not repeat it, or it is a bare copy.
"""

from __future__ import annotations

from dataclasses import replace

from millstream.lower.affine import follow, move
from millstream.lower.draft import Draft, Use, stage_uses
from millstream.lower.expression import direct
from millstream_runtime.program import Call, Expression, Load, Stage, rewrite, walk

CHEAP_CALLS = 2


def inline(draft: Draft) -> Draft:
    """Inline until nothing more is worth it. Writers that nobody reads any more stay for `prune`."""
    stages = list(draft.stages)
    for number in range(len(stages)):
        stages[number] = _inlined(draft, stages, number)
    return replace(draft, stages=tuple(stages))


def _inlined(draft: Draft, stages: list[Stage], number: int) -> Stage:
    stage = stages[number]
    found: dict[tuple[Load, tuple[int, ...]], Expression] = {}
    for use in stage_uses(number, stage):
        expression = _replacement(draft, stages, use)
        if expression is not None:
            found[use.load, use.extents] = expression
    if not found:
        return stage

    def visit(extents: tuple[int, ...], expression: Expression) -> Expression | None:
        return found.get((expression, extents)) if isinstance(expression, Load) else None

    reduction = stage.reduction
    if reduction:
        inner = stage.extents + reduction.extents
        operand = rewrite(reduction.operand, lambda e: visit(inner, e))
        reduction = replace(reduction, operand=operand)
    value = direct(rewrite(stage.value, lambda e: visit(stage.extents, e)))
    return replace(stage, reduction=reduction, value=value)


def _replacement(draft: Draft, stages: list[Stage], use: Use) -> Expression | None:
    """What the loaded element is computed from, when that is worth computing here."""
    name = use.load.access.buffer
    if not draft.is_scratch(name):
        return None
    for number in draft.writers[name]:
        writer = stages[number]
        if writer.reduction or not _worth(draft, writer, use):
            continue
        axes = follow(use.load.access, use.extents, writer.target, writer.extents)
        if axes is not None:
            return move(writer.value, axes, len(use.extents))
    return None


def _worth(draft: Draft, writer: Stage, use: Use) -> bool:
    if isinstance(writer.value, Load) and not writer.value.access.lookups:
        return True
    if not any(isinstance(found, Load) for found in walk(writer.value)):
        return True
    size = draft.by_name[writer.target.buffer].size
    uses = draft.uses[writer.target.buffer]
    if sum(other.count for other in uses) <= size:
        return True
    calls = sum(isinstance(found, Call) for found in walk(writer.value))
    return use.count <= size and calls <= CHEAP_CALLS and not _is_slow(writer.value)


_SLOW = frozenset(
    [
        "exp",
        "log",
        "log1p",
        "erf",
        "tanh",
        "sigmoid",
        "power",
        "sqrt",
        "divide",
        "floor_mod",
        "truncated_mod",
        "sin",
        "cos",
        "tan",
        "sinh",
        "cosh",
        "asin",
        "acos",
        "atan",
        "asinh",
        "acosh",
        "atanh",
    ]
)


def _is_slow(expression: Expression) -> bool:
    return any(isinstance(found, Call) and found.operation in _SLOW for found in walk(expression))
