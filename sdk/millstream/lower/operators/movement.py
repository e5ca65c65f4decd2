"""Operators that only move elements: most are another view of the same buffer."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from millstream.lower.builder import Builder, Node, Untranslatable
from millstream.lower.expression import add, call, cast, constant, like, select
from millstream.lower.view import View
from millstream_runtime.program import Access, AxisIndex, Expression, Load, Lookup


def _identity(builder: Builder, node: Node) -> View:
    return node.view(0)


def _dropout(builder: Builder, node: Node) -> View:
    if node.outputs > 1:
        raise Untranslatable("the mask of Dropout", "call eval() before export")
    return node.view(0)


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
    if node.attributes.get("mode", b"constant") != b"constant":
        raise Untranslatable("only constant padding is lowered", "pad by concatenation in the model")
    view = node.view(0)
    rank = len(view.shape)
    axes = [int(a) % rank for a in node.known_or(3, np.arange(rank))]
    amounts = node.known(1)
    value = node.known_or(2, np.zeros(1)).item()
    before, after = [0] * rank, [0] * rank
    for place, axis in enumerate(axes):
        before[axis], after[axis] = int(amounts[place]), int(amounts[len(axes) + place])
    return pad(builder, view, before, after, value)


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


def _gather(builder: Builder, node: Node) -> View:
    view = node.view(0)
    axis = node.attributes.get("axis", 0) % len(view.shape)
    known = node.constants[1]
    if known is not None:
        found = _regular(view, axis, known)
        if found is not None:
            return found
    indices = node.view(1)
    outer, inner = view.shape[:axis], view.shape[axis + 1 :]
    shape = (*outer, *indices.shape, *inner)
    rank = len(shape)
    places = range(axis, axis + len(indices.shape))
    index = _wrapped(builder.read(indices, places, rank), view.shape[axis])
    rest = [*range(axis), *range(axis + len(indices.shape), rank)]
    return builder.map(shape, _lookup(view, axis, index, rest, rank))


def _regular(view: View, axis: int, indices: np.ndarray) -> View | None:
    """A gather of one index, or of evenly spaced ones, is a slice."""
    extent = view.shape[axis]
    flat = [int(i) % extent for i in indices.reshape(-1)]
    if indices.ndim == 0:
        return view.slice(axis, flat[0], 1).drop(axis)
    steps = set(np.diff(flat))
    if indices.ndim != 1 or not flat or len(steps) > 1:
        return None
    return view.slice(axis, flat[0], len(flat), int(steps.pop()) if steps else 1)


def _wrapped(index: Expression, extent: int) -> Expression:
    """ONNX indices count from the end when they are negative."""
    wide = cast(index, "int64")
    return select(call("less", wide, like(0, wide)), add(wide, like(extent, wide)), wide)


def _lookup(view: View, axis: int, index: Expression, rest: Sequence[int], rank: int) -> Load:
    """Read `view` at a computed place of one axis; the other axes follow stage axes `rest`."""
    fixed = view.slice(axis, 0, 1).drop(axis).access(rest, rank)
    lookup = Lookup(index, view.shape[axis], view.strides[axis])
    return Load(Access(fixed.buffer, fixed.offset, fixed.strides, (lookup,)), view.dtype)


def _gather_elements(builder: Builder, node: Node) -> View:
    view, indices = node.view(0), node.view(1)
    axis = node.attributes.get("axis", 0) % len(view.shape)
    rank = len(indices.shape)
    index = _wrapped(builder.read(indices), view.shape[axis])
    rest = [other for other in range(rank) if other != axis]
    return builder.map(indices.shape, _lookup(view, axis, index, rest, rank))


def _trilu(builder: Builder, node: Node) -> View:
    view = node.view(0)
    shift = int(node.known_or(1, np.zeros(1, np.int64)).item())
    rank = len(view.shape)
    row, column = AxisIndex(rank - 2), AxisIndex(rank - 1)
    limit = add(row, constant(shift, "int64"))
    upper = node.attributes.get("upper", 1)
    keep = call("greater_equal" if upper else "less_equal", column, limit)
    value = builder.read(view)
    return builder.map(view.shape, select(keep, value, like(0, value)))


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
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "Trilu": _trilu,
    "DepthToSpace": _depth_to_space,
    "SpaceToDepth": _space_to_depth,
}
