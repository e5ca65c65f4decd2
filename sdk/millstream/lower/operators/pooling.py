"""Poolings: a reduction over each window, or over all spatial axes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from millstream.lower.builder import Builder, Node, Untranslatable
from millstream.lower.expression import divide, like
from millstream.lower.operators.convolution import Window, slide, window
from millstream.lower.operators.movement import pad
from millstream.lower.operators.reduction import identity, p_norm, reduce_axes
from millstream.lower.view import View
from millstream_runtime.program import Accumulated, Expression, neutral


def _windows(builder: Builder, node: Node, filler: float) -> View:
    """Every window of the padded operand: (N, C, *outputs, *kernel)."""
    x = node.view(0)
    over = _window(node)
    beyond = _beyond(node, over)
    after = [high + more for high, more in zip(over.after, beyond, strict=True)]
    return slide(pad(builder, x, (0, 0, *over.before), (0, 0, *after), filler), over)


def _window(node: Node) -> Window:
    return window(node, node.attributes["kernel_shape"], node.view(0).shape[2:])


def _beyond(node: Node, over: Window) -> list[int]:
    """Cells to add behind the padding so that `ceil_mode` gets its last, partial window.

    A window that would start in the padding at the end does not count (opset 22, and torch).
    """
    spatial = node.view(0).shape[2:]
    if not node.attributes.get("ceil_mode", 0):
        return [0] * len(spatial)
    added = []
    for place, extent in enumerate(spatial):
        stride, reach = over.strides[place], over.reach[place]
        padded = extent + over.before[place] + over.after[place]
        steps = -(-(padded - reach) // stride)
        if steps * stride >= extent + over.before[place]:
            steps -= 1
        added.append(max(steps * stride + reach - padded, 0))
    return added


def _max_pool(builder: Builder, node: Node) -> View:
    if node.outputs > 1:
        raise Untranslatable("the indices of MaxPool", "pool without return_indices")
    seen = _windows(builder, node, neutral("max", node.view(0).dtype))
    rank = len(seen.shape) // 2 + 1
    return builder.reduce("max", seen.shape[:rank], seen.shape[rank:], builder.read(seen))


def _average_pool(builder: Builder, node: Node) -> View:
    seen = _windows(builder, node, 0)
    rank = len(seen.shape) // 2 + 1
    shape, dtype = seen.shape[:rank], seen.dtype
    counts = _counts(node, shape[2:]).astype(dtype)
    divisor = builder.read(builder.constant(counts).expand(shape))
    value = divide(Accumulated(dtype), divisor)
    return builder.reduce("sum", shape, seen.shape[rank:], builder.read(seen), value)


def _counts(node: Node, outputs: Sequence[int]) -> np.ndarray:
    """How many elements of each window count: an array of the outputs' extents, or one number for all.

    Padding counts with `count_include_pad`; what `ceil_mode` adds beyond it never does.
    """
    over, spatial = _window(node), node.view(0).shape[2:]
    includes_pads = node.attributes.get("count_include_pad", 0)
    counts = np.ones((), np.int64)
    for axis, (extent, positions) in enumerate(zip(spatial, outputs, strict=True)):
        low = -over.before[axis] if includes_pads else 0
        high = extent + over.after[axis] if includes_pads else extent
        starts = np.arange(positions) * over.strides[axis] - over.before[axis]
        places = starts[:, None] + np.arange(over.kernel[axis]) * over.dilations[axis]
        counts = np.multiply.outer(counts, ((places >= low) & (places < high)).sum(1))
    return counts if counts.min() < math.prod(over.kernel) else np.array(counts.max())


def _lp_pool(builder: Builder, node: Node) -> View:
    power, root = p_norm(node.attributes.get("p", 2))
    seen = _windows(builder, node, 0)
    rank = len(seen.shape) // 2 + 1
    value = root(Accumulated(seen.dtype))
    return builder.reduce("sum", seen.shape[:rank], seen.shape[rank:], power(builder.read(seen)), value)


def _global_average_pool(builder: Builder, node: Node) -> View:
    x = node.view(0)
    count = math.prod(x.shape[2:])

    def mean(total: Expression) -> Expression:
        return divide(total, like(count, total))

    return reduce_axes(builder, x, range(2, len(x.shape)), "sum", identity, mean)


def _global_max_pool(builder: Builder, node: Node) -> View:
    x = node.view(0)
    return reduce_axes(builder, x, range(2, len(x.shape)), "max", identity, identity)


def _global_lp_pool(builder: Builder, node: Node) -> View:
    x = node.view(0)
    return reduce_axes(builder, x, range(2, len(x.shape)), "sum", *p_norm(node.attributes.get("p", 2)))


OPERATORS: dict[str, Callable[[Builder, Node], View]] = {
    "MaxPool": _max_pool,
    "AveragePool": _average_pool,
    "LpPool": _lp_pool,
    "GlobalAveragePool": _global_average_pool,
    "GlobalMaxPool": _global_max_pool,
    "GlobalLpPool": _global_lp_pool,
}
