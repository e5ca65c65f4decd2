"""Operators that write by index into a copy of a tensor.

A program stores every element once, at an address that is known beforehand. So a scatter is written from
the side of its result: each element asks which update, if any, falls on it. Where the indices are constant
the answer is known, and runs of elements are copied.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from millstream.lower.affine import Affine, keep, move
from millstream.lower.builder import Builder, Node
from millstream.lower.expression import call, constant, select
from millstream.lower.operators.indexing import look_up, wrapped
from millstream.lower.operators.movement import MAX_RUNS, runs
from millstream.lower.view import View
from millstream_runtime.program import AxisIndex, Expression, neutral

#: ONNX's name of a combination -> the reduction over updates, and how its result meets the old element.
_COMBINED = {
    b"add": ("sum", "add"),
    b"mul": ("product", "multiply"),
    b"max": ("max", "maximum"),
    b"min": ("min", "minimum"),
}


@dataclass(frozen=True)
class _Updates:
    """`count` updates on a region: update j is seen on the axis behind the region's own.

    `hits` says whether update j falls on the element; `axes` are the stage axes of `values`.
    """

    values: View
    axes: tuple[int, ...]
    hits: Expression
    count: int


def _scatter_elements(builder: Builder, node: Node) -> View:
    old, indices, values = node.view(0), node.view(1), node.view(2)
    rank = len(old.shape)
    axis = node.attributes.get("axis", 0) % rank
    result = builder.allocate(old.dtype, old.shape)
    region = result
    for other in range(rank):
        if other != axis:
            inside, whole = indices.shape[other], old.shape[other]
            builder.copy(_rest(old, other, inside, whole), _rest(region, other, inside, whole))
            old, region = old.slice(other, 0, inside), region.slice(other, 0, inside)
    axes = tuple(rank if a == axis else a for a in range(rank))
    index = wrapped(builder.read(indices, axes, rank + 1), old.shape[axis])
    hits = call("equal", index, AxisIndex(axis))
    _combine(builder, node, old, region, _Updates(values, axes, hits, indices.shape[axis]))
    return result


def _rest(view: View, axis: int, inside: int, whole: int) -> View:
    """What lies behind the first `inside` places of an axis."""
    return view.slice(axis, inside, whole - inside)


def _scatter_nd(builder: Builder, node: Node) -> View:
    old = node.view(0)
    indices = builder.contiguous(node.view(1))
    depth = indices.shape[-1]
    count = math.prod(indices.shape[:-1])
    values = builder.reshape(node.view(2), (count, *old.shape[depth:]))
    known = node.constants[1]
    if known is not None and node.attributes.get("reduction", b"none") == b"none":
        found = _constant_scatter(builder, old, known.reshape(count, depth), values)
        if found is not None:
            return found
    rank = len(old.shape)
    flat = builder.reshape(indices, (count, depth))
    hits: Expression = constant(True, "bool")
    for axis in range(depth):
        index = builder.read(flat.slice(1, axis, 1).drop(1), [rank], rank + 1)
        hit = call("equal", wrapped(index, old.shape[axis]), AxisIndex(axis))
        hits = call("and", hits, hit) if axis else hit
    result = builder.allocate(old.dtype, old.shape)
    updates = _Updates(values, (rank, *range(depth, rank)), hits, count)
    _combine(builder, node, old, result, updates)
    return result


def _combine(builder: Builder, node: Node, old: View, region: View, updates: _Updates) -> None:
    """Store into `region` the old elements with the updates that fall on them."""
    before = builder.read(old)
    kind = node.attributes.get("reduction", b"none")
    if kind == b"none":
        value = _last_update(builder, region.shape, before, updates)
    else:
        reduction, operation = _COMBINED[kind]
        update = builder.read(updates.values, updates.axes, len(region.shape) + 1)
        absent = constant(neutral(reduction, old.dtype), old.dtype)
        operand = select(updates.hits, update, absent)
        total = builder.reduce(reduction, region.shape, [updates.count], operand)
        value = call(operation, before, builder.read(total))
    builder.store(region, value)


def _last_update(
    builder: Builder, shape: tuple[int, ...], before: Expression, updates: _Updates
) -> Expression:
    """The last update that falls on an element, else the element as it was before."""
    rank = len(shape)
    if updates.count == 1:
        only = (*keep(rank, rank), Affine(0, (0,) * rank))
        update = builder.read(updates.values, updates.axes, rank + 1)
        return select(move(updates.hits, only, rank), move(update, only, rank), before)
    candidate = select(updates.hits, AxisIndex(rank), constant(-1, "int64"))
    winner = builder.read(builder.reduce("max", shape, [updates.count], candidate))
    along = updates.axes.index(rank)
    rest = [axis for axis in updates.axes if axis != rank]
    update = look_up(updates.values, [along], [winner], rest, rank)
    return select(call("less", winner, constant(0, "int64")), before, update)


def _constant_scatter(builder: Builder, old: View, indices: np.ndarray, values: View) -> View | None:
    """Copies of runs of old elements and of updates, or None when there are too many runs."""
    depth = indices.shape[1]
    extents, inner = old.shape[:depth], old.shape[depth:]
    winners = np.full(extents, -1)
    winners[tuple(indices.T)] = np.arange(len(indices))
    pieces = _pieces(winners.reshape(-1))
    if len(pieces) > MAX_RUNS:
        return None
    result = builder.allocate(old.dtype, (winners.size, *inner))
    old = builder.reshape(old, result.shape)
    start = 0
    for is_new, first, count, step in pieces:
        source = values.slice(0, first, count, step) if is_new else old.slice(0, start, count)
        builder.copy(source, result.slice(0, start, count))
        start += count
    return builder.reshape(result, (*extents, *inner))


def _pieces(winners: np.ndarray) -> list[tuple[bool, int, int, int]]:
    """Runs of the winning updates (-1 is none): whether it is one of updates, first, count, step."""
    borders = np.flatnonzero(np.diff(winners < 0)) + 1
    stretches: Sequence[np.ndarray] = np.split(winners, borders)
    return [(int(s[0]) >= 0, *run) for s in stretches for run in runs(s.tolist())]


OPERATORS: dict[str, Callable[[Builder, Node], View]] = {
    "ScatterElements": _scatter_elements,
    "ScatterND": _scatter_nd,
}
