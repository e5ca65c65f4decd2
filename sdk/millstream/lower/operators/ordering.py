"""Searches along one axis, written as reductions: where the extreme stands, and the k largest."""

from __future__ import annotations

from collections.abc import Callable

from millstream.lower.builder import Builder, Node
from millstream.lower.expression import call, cast, constant, select
from millstream.lower.operators.indexing import look_up
from millstream.lower.operators.reduction import identity, reduce_axes
from millstream.lower.view import View
from millstream_runtime.program import AxisIndex, Call, Expression


def _extreme_index(kind: str) -> Callable[[Builder, Node], View]:
    """ArgMax and ArgMin: the first (or last) place where the extreme value stands."""

    def translate(builder: Builder, node: Node) -> View:
        view = node.view(0)
        axis = node.attributes.get("axis", 0) % len(view.shape)
        last = bool(node.attributes.get("select_last_index", 0))
        index = extreme_index(builder, view, axis, kind, last)
        return index if node.attributes.get("keepdims", 1) else index.drop(axis)

    return translate


def extreme_index(builder: Builder, view: View, axis: int, kind: str, last: bool = False) -> View:
    """int64 places of the `kind` ("max" or "min") along `axis`, which stays with extent 1."""
    rank = len(view.shape)
    best = reduce_axes(builder, view, [axis], kind, identity, identity).expand(view.shape)
    kept = [other for other in range(rank) if other != axis]
    places = [rank - 1 if a == axis else kept.index(a) for a in range(rank)]
    found = call("equal", builder.read(view, places, rank), builder.read(best, places, rank))
    absent = constant(-1 if last else view.shape[axis], "int64")
    operand = select(found, AxisIndex(rank - 1), absent)
    shape = [view.shape[other] for other in kept]
    return builder.reduce("max" if last else "min", shape, [view.shape[axis]], operand).insert(axis)


def _hardmax(builder: Builder, node: Node) -> View:
    x = node.view(0)
    axis = node.attributes.get("axis", -1) % len(x.shape)
    first = builder.read(extreme_index(builder, x, axis, "max").expand(x.shape))
    return builder.map(x.shape, cast(call("equal", first, AxisIndex(axis)), x.dtype))


def _top_k(builder: Builder, node: Node) -> list[View]:
    """Values and int64 indices, the lower index first among equals; NaN counts as larger than any number.

    An element's rank is the number of elements before it: quadratic in the axis, and no data-dependent
    store. The result is always sorted, which `sorted=0` leaves open.
    """
    view = node.view(0)
    axis = node.attributes.get("axis", -1) % len(view.shape)
    count = int(node.known(1).item())
    rank = len(view.shape)
    ranks = _ranks(builder, view, axis, bool(node.attributes.get("largest", 1)))
    shape = (*view.shape[:axis], count, *view.shape[axis + 1 :])
    moved = [rank if a == axis else a for a in range(rank)]
    found = call("equal", builder.read(ranks, moved, rank + 1), AxisIndex(axis))
    operand = select(found, AxisIndex(rank), constant(-1, "int64"))
    places = builder.reduce("max", shape, [view.shape[axis]], operand)
    rest = [a for a in range(rank) if a != axis]
    values = builder.map(shape, look_up(view, [axis], [builder.read(places)], rest, rank))
    return [values, places]


def _ranks(builder: Builder, view: View, axis: int, largest: bool) -> View:
    """How many elements along `axis` stand before each one, as int64."""
    rank = len(view.shape)
    here = builder.read(view, range(rank), rank + 1)
    there = builder.read(view, [rank if a == axis else a for a in range(rank)], rank + 1)
    tie = call("not", call("or", _before(there, here, largest), _before(here, there, largest)))
    earlier = call("and", tie, call("less", AxisIndex(rank), AxisIndex(axis)))
    counts = cast(call("or", _before(there, here, largest), earlier), "int64")
    return builder.reduce("sum", view.shape, [view.shape[axis]], counts)


def _before(a: Expression, b: Expression, largest: bool) -> Call:
    """Whether a stands before b, were they sorted."""
    if not largest:
        a, b = b, a
    if not a.dtype.startswith("float"):
        return call("greater", a, b)
    only_a = call("and", call("is_nan", a), call("not", call("is_nan", b)))
    return call("or", call("greater", a, b), only_a)


OPERATORS: dict[str, Callable[[Builder, Node], View | list[View]]] = {
    "ArgMax": _extreme_index("max"),
    "ArgMin": _extreme_index("min"),
    "Hardmax": _hardmax,
    "TopK": _top_k,
}
