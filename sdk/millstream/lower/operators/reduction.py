"""Reductions over axes, and the scans and searches that are written as reductions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from millstream.lower.builder import Builder, Node
from millstream.lower.expression import (
    add,
    call,
    constant,
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


def _reduce(
    kind: str, operand: Formula, value: Formula, mean: bool = False
) -> Callable[[Builder, Node], View]:
    def translate(builder: Builder, node: Node) -> View:
        view = node.view(0)
        given = node.known_or(1, _NO_AXES)
        if not given.size and node.attributes.get("noop_with_empty_axes", 0):
            return view
        rank = len(view.shape)
        axes = [int(a) for a in given] if given.size else list(range(rank))
        count = math.prod(view.shape[axis] for axis in axes)

        def finish(x: Expression) -> Expression:
            return value(divide(x, like(count, x)) if mean else x)

        kept = reduce_axes(builder, view, axes, kind, operand, finish)
        return kept if node.attributes.get("keepdims", 1) else without(kept, axes)

    return translate


def _log_sum_exp(builder: Builder, node: Node) -> View:
    view = node.view(0)
    given = node.known_or(1, _NO_AXES)
    rank = len(view.shape)
    axes = [int(a) for a in given] if given.size else list(range(rank))
    largest = reduce_axes(builder, view, axes, "max", identity, identity)
    shape = view.shape
    shifted = builder.map(
        shape, call("exp", subtract(builder.read(view), builder.read(largest.expand(shape))))
    )
    total = reduce_axes(builder, shifted, axes, "sum", identity, lambda x: call("log", x))
    kept = builder.map(total.shape, add(builder.read(total), builder.read(largest)))
    return kept if node.attributes.get("keepdims", 1) else without(kept, axes)


def _extreme_index(kind: str) -> Callable[[Builder, Node], View]:
    """ArgMax and ArgMin: the first (or last) place where the extreme value stands."""

    def translate(builder: Builder, node: Node) -> View:
        view = node.view(0)
        rank = len(view.shape)
        axis = node.attributes.get("axis", 0) % rank
        last = node.attributes.get("select_last_index", 0)
        best = reduce_axes(builder, view, [axis], kind, identity, identity).expand(view.shape)
        kept = [other for other in range(rank) if other != axis]
        order = [*kept, axis]
        places = [order.index(other) for other in range(rank)]
        place = AxisIndex(rank - 1)
        found = call("equal", builder.read(view, places, rank), builder.read(best, places, rank))
        absent = constant(-1 if last else view.shape[axis], "int64")
        shape = [view.shape[other] for other in kept]
        index = builder.reduce(
            "max" if last else "min", shape, [view.shape[axis]], select(found, place, absent)
        )
        return index.insert(axis) if node.attributes.get("keepdims", 1) else index

    return translate


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


def _global_pool(kind: str) -> Callable[[Builder, Node], View]:
    def translate(builder: Builder, node: Node) -> View:
        view = node.view(0)
        axes = range(2, len(view.shape))
        count = int(np.prod(view.shape[2:]))

        def finish(x: Expression) -> Expression:
            return divide(x, like(count, x)) if kind == "sum" else x

        return reduce_axes(builder, view, axes, kind, identity, finish)

    return translate


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
    "ArgMax": _extreme_index("max"),
    "ArgMin": _extreme_index("min"),
    "CumSum": _cumsum,
    "GlobalAveragePool": _global_pool("sum"),
    "GlobalMaxPool": _global_pool("max"),
}
