"""Reductions over axes, and the scans and searches that are written as reductions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from millstream.lower.builder import Builder, Node
from millstream.lower.expression import (
    add,
    call,
    divide,
    like,
    multiply,
    select,
    subtract,
)
from millstream.lower.view import View
from millstream_runtime.program import Accumulated, AxisIndex, Expression

Formula = Callable[[Expression], Expression]

_NO_AXES = np.empty(0, np.int64)


def reduce_axes(
    builder: Builder,
    view: View,
    axes: Sequence[int],
    kind: str,
    operand: Formula,
    value: Formula,
) -> View:
    """Reduce over `axes`, which stay as axes of extent 1.

    `operand` maps each element before, `value` the result after.
    """
    rank = len(view.shape)
    axes = sorted({axis % rank for axis in axes})
    kept = [axis for axis in range(rank) if axis not in axes]
    order = [*kept, *axes]
    places = [order.index(axis) for axis in range(rank)]
    read = operand(builder.read(view, places, rank))
    result = builder.reduce(
        kind,
        [view.shape[axis] for axis in kept],
        [view.shape[axis] for axis in axes],
        read,
        value(Accumulated(read.dtype)),
    )
    for axis in axes:
        result = result.insert(axis)
    return result


def without(view: View, axes: Sequence[int]) -> View:
    """Drop axes of extent 1."""
    for axis in sorted({axis % len(view.shape) for axis in axes}, reverse=True):
        view = view.drop(axis)
    return view


def identity(x: Expression) -> Expression:
    return x


def square(x: Expression) -> Expression:
    return multiply(x, x)


def p_norm(p: int) -> tuple[Formula, Formula]:
    """What to sum, and what to make of the sum: |x|^p and its p-th root."""
    if p == 1:
        return _absolute, identity
    if p == 2:
        return square, _root
    return (
        lambda x: call("power", _absolute(x), like(p, x)),
        lambda total: call("power", total, like(1 / p, total)),
    )


def _axes(node: Node) -> list[int] | None:
    """The axes that a reduction runs over; None when it is to change nothing."""
    given = node.known_or(1, _NO_AXES)
    if given.size:
        return [int(axis) for axis in given]
    return None if node.attributes.get("noop_with_empty_axes", 0) else list(range(len(node.view(0).shape)))


def _kept_or_dropped(node: Node, reduced: View, axes: Sequence[int]) -> View:
    return reduced if node.attributes.get("keepdims", 1) else without(reduced, axes)


def _reduce(
    kind: str, operand: Formula, value: Formula, mean: bool = False
) -> Callable[[Builder, Node], View]:
    def translate(builder: Builder, node: Node) -> View:
        view, axes = node.view(0), _axes(node)
        if axes is None:
            return view
        count = math.prod(view.shape[axis] for axis in axes)

        def finish(x: Expression) -> Expression:
            return value(divide(x, like(count, x)) if mean else x)

        return _kept_or_dropped(node, reduce_axes(builder, view, axes, kind, operand, finish), axes)

    return translate


def _log_sum_exp(builder: Builder, node: Node) -> View:
    """log(sum e^x), from x less its largest so that nothing overflows."""
    view, axes = node.view(0), _axes(node)
    if axes is None:
        return view
    peak = reduce_axes(builder, view, axes, "max", identity, _finite)
    shifted = subtract(builder.read(view), builder.read(peak.expand(view.shape)))
    powers = builder.map(view.shape, call("exp", shifted))
    total = reduce_axes(builder, powers, axes, "sum", identity, _log)
    kept = builder.map(total.shape, add(builder.read(total), builder.read(peak)))
    return _kept_or_dropped(node, kept, axes)


def _finite(x: Expression) -> Expression:
    """x, or 0 in place of an infinity: with it as the largest, x - largest would be NaN."""
    return select(call("equal", call("absolute", x), like(math.inf, x)), like(0, x), x)


def _cumsum(builder: Builder, node: Node) -> View:
    """Each output is a masked sum: quadratic in the axis, and right for the short axes of a step."""
    view = node.view(0)
    axis = int(node.known(1).item()) % len(view.shape)
    rank = len(view.shape)
    reverse, exclusive = node.attributes.get("reverse", 0), node.attributes.get("exclusive", 0)
    here, there = AxisIndex(axis), AxisIndex(rank)
    strictly = "greater" if reverse else "less"
    counts = call(strictly if exclusive else f"{strictly}_equal", there, here)
    element = builder.read(view, [rank if a == axis else a for a in range(rank)], rank + 1)
    operand = select(counts, element, like(0, element))
    return builder.reduce("sum", view.shape, [view.shape[axis]], operand)


def _absolute(x: Expression) -> Expression:
    return call("absolute", x)


def _log(x: Expression) -> Expression:
    return call("log", x)


def _root(x: Expression) -> Expression:
    return call("sqrt", x)


OPERATORS: dict[str, Callable[[Builder, Node], View]] = {
    "ReduceSum": _reduce("sum", identity, identity),
    "ReduceMean": _reduce("sum", identity, identity, mean=True),
    "ReduceProd": _reduce("product", identity, identity),
    "ReduceMax": _reduce("max", identity, identity),
    "ReduceMin": _reduce("min", identity, identity),
    "ReduceL1": _reduce("sum", _absolute, identity),
    "ReduceL2": _reduce("sum", square, _root),
    "ReduceSumSquare": _reduce("sum", square, identity),
    "ReduceLogSum": _reduce("sum", identity, _log),
    "ReduceLogSumExp": _log_sum_exp,
    "CumSum": _cumsum,
}
