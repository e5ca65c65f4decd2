"""The values of an item's points: what is read for them in whole vectors, and where they are stored."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from millstream.targets.gpu.assembler import ThreadAssembler
from millstream.targets.gpu.forms import VECTOR, has_vectors, is_aligned, vectors
from millstream.targets.gpu.items import Items
from millstream_runtime.kernels.assembler import Address, Value
from millstream_runtime.kernels.point import Point
from millstream_runtime.program import Access, Expression


def store_item(items: Items, write: ThreadAssembler, point: Point, result: Callable[[int], Value]) -> None:
    """The values of an item, each from the result of its sum."""
    value, width = items.stage.value, items.form.width
    for stream in range(items.form.streams):
        own = items.stream(point, stream)
        hold_lanes(items, write, [value], own)
        lanes = [items.lane(own, lane) for lane in range(width)]
        values = [
            bound(write, lane.value(value, result(stream * width + number)), value.dtype)
            for number, lane in enumerate(lanes)
        ]
        put(write, items.stage.target, value.dtype, lanes, values)


def hold(write: ThreadAssembler, expressions: Sequence[Expression], point: Point, axis: int) -> None:
    """Read whole vectors along an axis."""
    for load in vectors(expressions, axis):
        write.hold(point.address(load.access, load.dtype), VECTOR)


def hold_lanes(items: Items, write: ThreadAssembler, expressions: Sequence[Expression], point: Point) -> None:
    """Read what the places of an item need, in whole vectors."""
    for lane in range(0, items.form.width - 1, VECTOR):
        hold(write, expressions, items.lane(point, lane), items.outer - 1)


def bound(write: ThreadAssembler, value: Value, dtype: str) -> Value:
    """A value fit to be used more than once."""
    return value if dtype == "bool" else write.bind(value, dtype)


def put(
    write: ThreadAssembler, target: Access, dtype: str, points: Sequence[Point], values: Sequence[Value]
) -> None:
    """Values stored, as whole vectors where they may."""
    for first in range(0, len(points), VECTOR):
        some, stored = points[first : first + VECTOR], values[first : first + VECTOR]
        addresses = [point.address(target, dtype) for point in some]
        if has_vectors(dtype) and _is_vector(target, addresses):
            write.store_lanes(addresses[0], stored)
            continue
        for address, value in zip(addresses, stored, strict=True):
            write.store(address, value)


def _is_vector(target: Access, addresses: Sequence[Address]) -> bool:
    """Whether these are a whole vector along an axis."""
    first = addresses[0].index
    follow = all(address.index == first.plus(n) for n, address in enumerate(addresses))
    aligned = any(is_aligned(target, axis) for axis in range(len(target.strides)))
    return len(addresses) == VECTOR and follow and aligned
