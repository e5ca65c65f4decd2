"""Two rewrites of a whole stage, of which the variants of a program are made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from millstream_runtime.program import Access, AxisIndex, Expression, Kept, Load, Stage, rewrite

#: An address, and the extents of the axes that its strides belong to, to the address in its place.
Place = Callable[[Access, tuple[int, ...]], Access]


def with_leading_axis(stage: Stage, extent: int) -> Stage:
    """The stage inside one more loop, which moves no address yet."""

    def deeper(access: Access) -> Access:
        return replace(access, strides=(0, *access.strides))

    def visit(part: Expression) -> Expression | None:
        match part:
            case Load():
                lookups = tuple(replace(x, index=rewrite(x.index, visit)) for x in part.access.lookups)
                return replace(part, access=deeper(replace(part.access, lookups=lookups)))
            case AxisIndex():
                return AxisIndex(part.axis + 1)
        return None

    reduction = stage.reduction
    return replace(
        stage,
        extents=(extent, *stage.extents),
        reduction=reduction
        and replace(
            reduction,
            operand=rewrite(reduction.operand, visit),
            kept=reduction.kept and Kept(rewrite(reduction.kept.value, visit), deeper(reduction.kept.target)),
        ),
        value=rewrite(stage.value, visit),
        target=deeper(stage.target),
    )


def readdressed(stage: Stage, place: Place) -> Stage:
    """The stage with `place` of every address, its target's included, in that address's stead."""

    def moved(expression: Expression, extents: tuple[int, ...]) -> Expression:
        def visit(part: Expression) -> Expression | None:
            if not isinstance(part, Load):
                return None
            lookups = tuple(replace(x, index=rewrite(x.index, visit)) for x in part.access.lookups)
            return replace(part, access=place(replace(part.access, lookups=lookups), extents))

        return rewrite(expression, visit)

    reduction = stage.reduction
    if reduction:
        inner = stage.extents + reduction.extents
        kept = reduction.kept
        reduction = replace(
            reduction,
            operand=moved(reduction.operand, inner),
            kept=kept and Kept(moved(kept.value, inner), place(kept.target, inner)),
        )
    value = moved(stage.value, stage.extents)
    return replace(stage, reduction=reduction, value=value, target=place(stage.target, stage.extents))
