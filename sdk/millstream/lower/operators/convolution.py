"""Convolutions and poolings over any number of spatial axes: one window sliding over a padded view."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from millstream.lower.builder import Builder, Node, Untranslatable
from millstream.lower.expression import add, divide, multiply
from millstream.lower.operators.movement import pad
from millstream.lower.view import View
from millstream_runtime.program import Access, Accumulated, Expression, Load


@dataclass(frozen=True)
class Window:
    """Kernel extents and, per spatial axis, stride, dilation and padding before and after."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]

    def output(self, spatial: Sequence[int]) -> tuple[int, ...]:
        """Output extents for unpadded input extents."""
        return tuple(
            (extent + low + high - dilation * (k - 1) - 1) // stride + 1
            for extent, k, stride, dilation, low, high in zip(
                spatial, self.kernel, self.strides, self.dilations, self.before, self.after, strict=True
            )
        )


def window(node: Node, kernel: Sequence[int], spatial: Sequence[int]) -> Window:
    """Read the window attributes that Conv and the poolings share."""
    rank = len(kernel)
    strides = tuple(node.attributes.get("strides", (1,) * rank))
    dilations = tuple(node.attributes.get("dilations", (1,) * rank))
    pads = tuple(node.attributes.get("pads", (0,) * 2 * rank))
    mode = node.attributes.get("auto_pad", b"NOTSET")
    if mode in (b"SAME_UPPER", b"SAME_LOWER"):
        totals = [
            max((-(-extent // stride) - 1) * stride + dilation * (k - 1) + 1 - extent, 0)
            for extent, k, stride, dilation in zip(spatial, kernel, strides, dilations, strict=True)
        ]
        small, large = [total // 2 for total in totals], [total - total // 2 for total in totals]
        pads = (*small, *large) if mode == b"SAME_UPPER" else (*large, *small)
    return Window(tuple(kernel), strides, dilations, tuple(pads[:rank]), tuple(pads[rank:]))


def slide(view: View, over: Window, outer: int, place: Callable[[int], int], rank: int) -> Access:
    """Address of the window's elements in a padded view whose spatial axes follow `outer` axes.

    Spatial axis j runs on stage axis place(j), the kernel axis j on the last axes of the stage.
    """
    strides = [0] * rank
    spatial = view.strides[outer:]
    for j, stride in enumerate(spatial):
        strides[place(j)] += stride * over.strides[j]
        strides[rank - len(spatial) + j] += stride * over.dilations[j]
    return Access(view.buffer, view.offset, tuple(strides))


def _conv(builder: Builder, node: Node) -> View:
    x, weight, bias = node.view(0), node.view(1), node.optional(2)
    groups = node.attributes.get("group", 1)
    over = window(node, weight.shape[2:], x.shape[2:])
    out = over.output(x.shape[2:])
    padded = pad(builder, x, (0, 0, *over.before), (0, 0, *over.after), 0.0)
    batch, channels, per_group = x.shape[0], x.shape[1] // groups, weight.shape[0] // groups
    spatial = len(out)
    rank = 3 + spatial + 1 + spatial
    channel = 3 + spatial
    read = slide(padded, over, 2, lambda j: 3 + j, rank).strides
    strides = list(read)
    strides[0], strides[1] = padded.strides[0], padded.strides[1] * channels
    strides[channel] = padded.strides[1]
    element = Load(Access(padded.buffer, padded.offset, tuple(strides)), x.dtype)
    split = weight.split_axis(0, (groups, per_group))
    kernel = builder.read(split, (1, 2, channel, *range(channel + 1, rank)), rank)
    value: Expression = Accumulated(x.dtype)
    shape = (batch, groups, per_group, *out)
    if bias is not None:
        value = add(value, builder.read(bias.split_axis(0, (groups, per_group)), (1, 2), len(shape)))
    result = builder.reduce("sum", shape, (channels, *over.kernel), multiply(kernel, element), value)
    return builder.reshape(result, (batch, groups * per_group, *out))


def _pool(
    builder: Builder, node: Node, kind: str, filler: float, finish: Callable[[Window], Expression | None]
) -> View:
    x = node.view(0)
    over = window(node, node.attributes["kernel_shape"], x.shape[2:])
    if node.attributes.get("ceil_mode", 0):
        raise Untranslatable("pooling with ceil_mode", "pad explicitly")
    out = over.output(x.shape[2:])
    padded = pad(builder, x, (0, 0, *over.before), (0, 0, *over.after), filler)
    rank = 2 + 2 * len(out)
    access = slide(padded, over, 2, lambda j: 2 + j, rank)
    strides = (padded.strides[0], padded.strides[1], *access.strides[2:])
    element = Load(Access(padded.buffer, padded.offset, strides), x.dtype)
    return builder.reduce(kind, (*x.shape[:2], *out), over.kernel, element, finish(over))


def _max_pool(builder: Builder, node: Node) -> View:
    if node.outputs > 1:
        raise Untranslatable("the indices of MaxPool")
    dtype = node.view(0).dtype
    lowest = -math.inf if dtype.startswith("float") else np.iinfo(dtype).min
    return _pool(builder, node, "max", lowest, lambda over: None)


def _average_pool(builder: Builder, node: Node) -> View:
    x = node.view(0)
    dtype = x.dtype

    def finish(over: Window) -> Expression:
        if node.attributes.get("count_include_pad", 0) or not any((*over.before, *over.after)):
            counts = np.full((), math.prod(over.kernel), dtype)
        else:
            counts = _real_elements(over, x.shape[2:]).astype(dtype)
        rank = 2 + len(over.kernel)
        shape = (*x.shape[:2], *over.output(x.shape[2:]))
        divisor = builder.read(builder.constant(counts).expand(shape), range(rank), rank)
        return divide(Accumulated(dtype), divisor)

    return _pool(builder, node, "sum", 0.0, finish)


def _real_elements(over: Window, spatial: Sequence[int]) -> np.ndarray:
    """How many elements of each window position are no padding; shape is the output's spatial shape."""
    per_axis = []
    for j, (extent, count) in enumerate(zip(spatial, over.output(spatial), strict=True)):
        starts = np.arange(count) * over.strides[j] - over.before[j]
        places = starts[:, None] + np.arange(over.kernel[j]) * over.dilations[j]
        per_axis.append(((places >= 0) & (places < extent)).sum(1))
    counts = np.ones((), np.int64)
    for axis in per_axis:
        counts = np.multiply.outer(counts, axis)
    return counts


OPERATORS: dict[str, Callable[[Builder, Node], View]] = {
    "Conv": _conv,
    "MaxPool": _max_pool,
    "AveragePool": _average_pool,
}
