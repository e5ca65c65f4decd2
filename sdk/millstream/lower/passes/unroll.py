"""Pass: write a short sum over a concatenation out, term by term.

Matches a sum of a few terms that reads a scratch buffer which several stages filled: the taps of a
depthwise convolution over its ring. Each term then reads what one stage wrote, so that `inline` takes it
from there and the concatenation disappears.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from functools import reduce

from millstream.lower.affine import Affine, keep, move
from millstream.lower.draft import Draft
from millstream.lower.expression import add
from millstream.lower.view import View, row_major
from millstream_runtime.program import (
    Accumulated,
    Buffer,
    Expression,
    Load,
    Reduction,
    Stage,
    rewrite,
    walk,
)

#: More terms are better off as a loop.
TERMS = 4


def unroll_sums(draft: Draft) -> Draft:
    """Unroll every such sum into a map; the value that finishes it becomes a map of its own."""
    buffers, stages = list(draft.buffers), []
    for stage in draft.stages:
        if stage.reduction is None or not _matches(draft, stage.reduction):
            stages.append(stage)
            continue
        terms = _terms(stage, stage.reduction)
        name = f"{stage.target.buffer}.sum.{stage.target.offset}"
        total = View(name, terms.dtype, stage.extents, row_major(stage.extents))
        buffers.append(Buffer(name, "scratch", terms.dtype, total.size))
        stages.append(replace(stage, reduction=None, value=terms, target=total.access()))
        stages.append(replace(stage, reduction=None, value=_finish(stage.value, total.load())))
    return replace(draft, buffers=tuple(buffers), stages=tuple(stages))


def _matches(draft: Draft, reduction: Reduction) -> bool:
    if reduction.kind != "sum" or math.prod(reduction.extents) > TERMS:
        return False
    loads = (part.access.buffer for part in walk(reduction.operand) if isinstance(part, Load))
    return any(draft.is_scratch(name) and len(draft.writers[name]) > 1 for name in loads)


def _terms(stage: Stage, reduction: Reduction) -> Expression:
    rank = len(stage.extents)
    axes = keep(rank, rank)
    points = itertools.product(*map(range, reduction.extents))
    fixed = ([Affine(place, (0,) * rank) for place in point] for point in points)
    return reduce(add, (move(reduction.operand, [*axes, *point], rank) for point in fixed))


def _finish(value: Expression, total: Load) -> Expression:
    return rewrite(value, lambda part: total if isinstance(part, Accumulated) else None)
