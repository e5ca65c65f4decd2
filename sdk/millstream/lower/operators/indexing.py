"""Operators that read by index. Where the indices are constant, slices do it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from millstream.lower.builder import Builder, Node
from millstream.lower.expression import add, call, cast, like, select
from millstream.lower.operators.movement import MAX_RUNS, runs, take
from millstream.lower.view import View
from millstream_runtime.program import Access, Expression, Load, Lookup


def wrapped(index: Expression, extent: int) -> Expression:
    """The index as int64; ONNX indices count from the end when they are negative."""
    wide = cast(index, "int64")
    return select(call("less", wide, like(0, wide)), add(wide, like(extent, wide)), wide)


def look_up(
    view: View, axes: Sequence[int], indices: Sequence[Expression], rest: Sequence[int], rank: int
) -> Load:
    """Read `view` at computed places of `axes`; its other axes follow stage axes `rest`."""
    fixed = view
    for axis in sorted(axes, reverse=True):
        fixed = fixed.slice(axis, 0, 1).drop(axis)
    lookups = tuple(
        Lookup(index, view.shape[axis], view.strides[axis]) for axis, index in zip(axes, indices, strict=True)
    )
    access = fixed.access(rest, rank)
    return Load(Access(access.buffer, access.offset, access.strides, lookups), view.dtype)


def _gather(builder: Builder, node: Node) -> View:
    view = node.view(0)
    axis = node.attributes.get("axis", 0) % len(view.shape)
    known = node.constants[1]
    if known is not None:
        found = _constant_gather(builder, view, axis, known)
        if found is not None:
            return found
    indices = node.view(1)
    outer, inner = view.shape[:axis], view.shape[axis + 1 :]
    shape = (*outer, *indices.shape, *inner)
    rank = len(shape)
    after = axis + len(indices.shape)
    index = wrapped(builder.read(indices, range(axis, after), rank), view.shape[axis])
    return builder.map(shape, look_up(view, [axis], [index], [*range(axis), *range(after, rank)], rank))


def _constant_gather(builder: Builder, view: View, axis: int, indices: np.ndarray) -> View | None:
    """Slices of the axis, or None when there are too many."""
    flat = [int(i) % view.shape[axis] for i in indices.reshape(-1)]
    if len(runs(flat)) > MAX_RUNS:
        return None
    found = take(builder, view, axis, flat)
    return found.split_axis(axis, indices.shape) if indices.ndim else found.drop(axis)


def _gather_elements(builder: Builder, node: Node) -> View:
    view, indices = node.view(0), node.view(1)
    axis = node.attributes.get("axis", 0) % len(view.shape)
    rank = len(indices.shape)
    index = wrapped(builder.read(indices), view.shape[axis])
    rest = [other for other in range(rank) if other != axis]
    return builder.map(indices.shape, look_up(view, [axis], [index], rest, rank))


def _gather_nd(builder: Builder, node: Node) -> View:
    view, indices = node.view(0), node.view(1)
    batch = node.attributes.get("batch_dims", 0)
    outer, depth = indices.shape[:-1], indices.shape[-1]
    axes = range(batch, batch + depth)
    shape = (*outer, *view.shape[batch + depth :])
    rank = len(shape)
    places = [
        wrapped(builder.read(_component(indices, k), range(len(outer)), rank), view.shape[axis])
        for k, axis in enumerate(axes)
    ]
    rest = [*range(batch), *range(len(outer), rank)]
    return builder.map(shape, look_up(view, axes, places, rest, rank))


def _component(indices: View, place: int) -> View:
    """One number of every index tuple; the tuples lie along the last axis."""
    last = len(indices.shape) - 1
    return indices.slice(last, place, 1).drop(last)


OPERATORS: dict[str, Callable[[Builder, Node], View]] = {
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "GatherND": _gather_nd,
}
