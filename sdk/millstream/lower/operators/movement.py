"""Operators that only move elements: most are another view of the same buffer."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from millstream.lower.builder import Builder, Node, Untranslatable
from millstream.lower.expression import constant
from millstream.lower.view import View

#: Up to so many slices are copied one by one; more are looked up in a table.
MAX_RUNS = 8


def _identity(builder: Builder, node: Node) -> View:
    return node.view(0)


def _dropout(builder: Builder, node: Node) -> list[View]:
    """Off, as in evaluation: the operand, and a mask that is true everywhere."""
    if node.known_or(2, np.zeros(1, bool)).any():
        raise Untranslatable("dropout in training mode", "call eval() before export")
    view = node.view(0)
    return [view, builder.constant(np.ones((), bool)).expand(view.shape)]


def _reshape(builder: Builder, node: Node) -> View:
    view = node.view(0)
    wanted = [int(extent) for extent in node.known(1)]
    keeps_zero = not node.attributes.get("allowzero", 0)
    shape = [view.shape[i] if extent == 0 and keeps_zero else extent for i, extent in enumerate(wanted)]
    if -1 in shape:
        known = int(np.prod([extent for extent in shape if extent != -1]))
        shape[shape.index(-1)] = view.size // known if known else 0
    return builder.reshape(view, shape)


def _flatten(builder: Builder, node: Node) -> View:
    view = node.view(0)
    axis = node.attributes.get("axis", 1)
    axis += len(view.shape) if axis < 0 else 0
    outer = int(np.prod(view.shape[:axis]))
    return builder.reshape(view, (outer, view.size // outer if outer else 0))


def _transpose(builder: Builder, node: Node) -> View:
    view = node.view(0)
    return view.transpose(node.attributes.get("perm", range(len(view.shape))[::-1]))


def _squeeze(builder: Builder, node: Node) -> View:
    view = node.view(0)
    axes = node.known_or(1, np.flatnonzero(np.array(view.shape) == 1))
    rank = len(view.shape)
    for axis in sorted({int(axis) % rank for axis in axes}, reverse=True):
        view = view.drop(axis)
    return view


def _unsqueeze(builder: Builder, node: Node) -> View:
    view = node.view(0)
    axes = node.known(1)
    rank = len(view.shape) + axes.size
    for axis in sorted(int(axis) % rank for axis in axes.reshape(-1)):
        view = view.insert(axis)
    return view


def _expand(builder: Builder, node: Node) -> View:
    view = node.view(0)
    return view.expand(np.broadcast_shapes(view.shape, tuple(int(n) for n in node.known(1))))


def _tile(builder: Builder, node: Node) -> View:
    view = node.view(0)
    repeats = [int(n) for n in node.known(1)]
    shape = [extent for pair in zip(repeats, view.shape, strict=True) for extent in pair]
    order = [place for axis in range(len(repeats)) for place in (axis, len(repeats) + axis)]
    stacked = view
    for _ in repeats:
        stacked = stacked.insert(0)
    tiled = stacked.transpose(order).expand(shape)
    return builder.reshape(tiled, [r * n for r, n in zip(repeats, view.shape, strict=True)])


def _slice(builder: Builder, node: Node) -> View:
    view = node.view(0)
    starts, ends = node.known(1), node.known(2)
    axes = node.known_or(3, np.arange(starts.size))
    steps = node.known_or(4, np.ones(starts.size, np.int64))
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        place = int(axis) % len(view.shape)
        first, last, stride = slice(int(start), int(end), int(step)).indices(view.shape[place])
        if step < 0 and end < -view.shape[place]:
            last = -1
        view = view.slice(place, first, len(range(first, last, stride)), stride)
    return view


def _split(builder: Builder, node: Node) -> list[View]:
    view = node.view(0)
    axis = node.attributes.get("axis", 0) % len(view.shape)
    extent = view.shape[axis]
    part = -(-extent // node.outputs)
    even = np.minimum(part, extent - part * np.arange(node.outputs))
    sizes = node.known_or(1, even)
    starts = np.cumsum([0, *sizes[:-1]])
    return [view.slice(axis, int(a), int(n)) for a, n in zip(starts, sizes, strict=True)]


def _concat(builder: Builder, node: Node) -> View:
    return concatenate(builder, [node.view(i) for i in range(len(node.inputs))], node.attributes["axis"])


def concatenate(builder: Builder, views: Sequence[View], axis: int) -> View:
    """One buffer, every part copied into its place."""
    axis %= len(views[0].shape)
    shape = list(views[0].shape)
    shape[axis] = sum(view.shape[axis] for view in views)
    whole = builder.allocate(views[0].dtype, shape)
    start = 0
    for view in views:
        builder.copy(view, whole.slice(axis, start, view.shape[axis]))
        start += view.shape[axis]
    return whole


def _pad(builder: Builder, node: Node) -> View:
    view = node.view(0)
    rank = len(view.shape)
    axes = [int(a) % rank for a in node.known_or(3, np.arange(rank))]
    amounts = node.known(1)
    before, after = [0] * rank, [0] * rank
    for place, axis in enumerate(axes):
        before[axis], after[axis] = int(amounts[place]), int(amounts[len(axes) + place])
    mode = node.attributes.get("mode", b"constant").decode()
    if mode == "constant":
        return pad(builder, view, before, after, node.known_or(2, np.zeros(1)).item())
    for axis, (low, high) in enumerate(zip(before, after, strict=True)):
        kept = np.arange(view.shape[axis])[max(-low, 0) : view.shape[axis] - max(-high, 0)]
        places = np.pad(kept, (max(low, 0), max(high, 0)), mode=mode)
        view = take(builder, view, axis, places.tolist())
    return view


def pad(builder: Builder, view: View, before: Sequence[int], after: Sequence[int], value: float) -> View:
    """Surround by a constant; negative amounts crop. Each border is stored once, axis by axis."""
    for axis, (low, high) in enumerate(zip(before, after, strict=True)):
        crop_low, crop_high = max(-low, 0), max(-high, 0)
        view = view.slice(axis, crop_low, view.shape[axis] - crop_low - crop_high)
        low, high = max(low, 0), max(high, 0)
        if not low and not high:
            continue
        shape = list(view.shape)
        extent = shape[axis]
        shape[axis] = low + extent + high
        whole = builder.allocate(view.dtype, shape)
        builder.store(whole.slice(axis, 0, low), constant(value, view.dtype))
        builder.copy(view, whole.slice(axis, low, extent))
        builder.store(whole.slice(axis, low + extent, high), constant(value, view.dtype))
        view = whole
    return view


def take(builder: Builder, view: View, axis: int, indices: Sequence[int]) -> View:
    """The view at constant places of one axis: a slice for each run of evenly spaced ones."""
    pieces = [view.slice(axis, *run) for run in runs(indices)]
    return pieces[0] if len(pieces) == 1 else concatenate(builder, pieces, axis)


def runs(indices: Sequence[int]) -> list[tuple[int, int, int]]:
    """A sequence as evenly spaced stretches, in order: (first, count, step) of each."""
    found: list[tuple[int, int, int]] = []
    start = 0
    while start < len(indices):
        stop = start + 1
        step = indices[stop] - indices[start] if stop < len(indices) else 1
        while stop < len(indices) and indices[stop] - indices[stop - 1] == step:
            stop += 1
        found.append((indices[start], stop - start, step))
        start = stop
    return found or [(0, 0, 1)]


def _depth_to_space(builder: Builder, node: Node) -> View:
    view = node.view(0)
    batch, depth, height, width = view.shape
    block = node.attributes["blocksize"]
    kept = depth // block**2
    column_row_depth = node.attributes.get("mode", b"DCR") == b"DCR"
    extents = (block, block, kept) if column_row_depth else (kept, block, block)
    order = (0, 3, 4, 1, 5, 2) if column_row_depth else (0, 1, 4, 2, 5, 3)
    split = builder.reshape(view, (batch, *extents, height, width)).transpose(order)
    return builder.reshape(split, (batch, kept, height * block, width * block))


def _space_to_depth(builder: Builder, node: Node) -> View:
    view = node.view(0)
    batch, depth, height, width = view.shape
    block = node.attributes["blocksize"]
    split = view.split_axis(3, (width // block, block)).split_axis(2, (height // block, block))
    moved = split.transpose((0, 3, 5, 1, 2, 4))
    return builder.reshape(moved, (batch, depth * block**2, height // block, width // block))


OPERATORS: dict[str, Callable[[Builder, Node], View | list[View]]] = {
    "Identity": _identity,
    "Dropout": _dropout,
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Transpose": _transpose,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Expand": _expand,
    "Tile": _tile,
    "Slice": _slice,
    "Split": _split,
    "Concat": _concat,
    "Pad": _pad,
    "DepthToSpace": _depth_to_space,
    "SpaceToDepth": _space_to_depth,
}
