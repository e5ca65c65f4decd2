"""Pass: take factors out of a sum.

Matches a sum of products in floats, some factors of which are the same for all terms: the scale of a weight
that is dequantized where it is read, one over the norm of a normalized activation. The sum runs over the
other factors, and its result is multiplied by these: one multiplication per sum instead of one per term. The
result differs by the rounding of each term, in float32 about 1e-7 of the terms' magnitude.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import reduce

from millstream.lower.affine import Affine, keep, move
from millstream.lower.draft import Draft
from millstream.lower.expression import multiply
from millstream_runtime.program import (
    Access,
    Accumulated,
    AxisIndex,
    Call,
    Expression,
    Load,
    Stage,
    rewrite,
    walk,
)


def hoist_factors(draft: Draft) -> Draft:
    """Take every factor that does not depend on the reduction's axes out of its sum."""
    return replace(draft, stages=tuple(_hoisted(stage) for stage in draft.stages))


def _hoisted(stage: Stage) -> Stage:
    reduction = stage.reduction
    if reduction is None or reduction.kind != "sum" or not reduction.operand.dtype.startswith("float"):
        return stage
    outer = len(stage.extents)
    factors = list(_factors(reduction.operand))
    fixed = [factor for factor in factors if _is_fixed(factor, outer)]
    rest = [factor for factor in factors if not _is_fixed(factor, outer)]
    if not fixed or not rest:
        return stage
    still = [Affine(0, (0,) * outer)] * len(reduction.extents)
    axes = [*keep(outer, outer), *still]
    scale = reduce(multiply, (move(factor, axes, outer) for factor in fixed))
    total = multiply(Accumulated(reduction.operand.dtype), scale)
    return replace(
        stage,
        reduction=replace(reduction, operand=reduce(multiply, rest)),
        value=rewrite(stage.value, lambda part: total if isinstance(part, Accumulated) else None),
    )


def _factors(expression: Expression) -> Iterator[Expression]:
    if isinstance(expression, Call) and expression.operation == "multiply":
        for operand in expression.operands:
            yield from _factors(operand)
    else:
        yield expression


def _is_fixed(factor: Expression, outer: int) -> bool:
    """Whether all terms of a sum have it alike."""
    return not any(_moves(part, outer) for part in walk(factor))


def _moves(part: Expression, outer: int) -> bool:
    match part:
        case Load(access=Access(strides=strides)):
            return any(strides[outer:])
        case AxisIndex(axis=axis):
            return axis >= outer
    return False
