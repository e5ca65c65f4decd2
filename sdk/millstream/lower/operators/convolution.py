"""Convolutions over any number of spatial axes: windows that slide over a padded view."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from millstream.lower.builder import Builder, Node
from millstream.lower.expression import add, call, cast, like, multiply, select
from millstream.lower.operators.movement import pad
from millstream.lower.view import View
from millstream_runtime.program import Accumulated, AxisIndex, Expression


@dataclass(frozen=True)
class Window:
    """Kernel extents and, per spatial axis, stride, dilation and padding before and after."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]

    @property
    def reach(self) -> tuple[int, ...]:
        """Extents of the dilated kernel."""
        return tuple(d * (k - 1) + 1 for k, d in zip(self.kernel, self.dilations, strict=True))


def window(node: Node, kernel: Sequence[int], spatial: Sequence[int]) -> Window:
    """Read the window attributes that convolutions and poolings share."""
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


def slide(padded: View, over: Window) -> View:
    """(..., *padded extents) seen as (..., *outputs, *kernel); the windows overlap in the buffer."""
    rank = len(over.kernel)
    spatial, steps = padded.shape[-rank:], padded.strides[-rank:]
    outputs = [
        (extent - reach) // stride + 1
        for extent, reach, stride in zip(spatial, over.reach, over.strides, strict=True)
    ]
    across = [step * stride for step, stride in zip(steps, over.strides, strict=True)]
    within = [step * dilation for step, dilation in zip(steps, over.dilations, strict=True)]
    return replace(
        padded,
        shape=(*padded.shape[:-rank], *outputs, *over.kernel),
        strides=(*padded.strides[:-rank], *across, *within),
    )


def convolve(builder: Builder, x: View, weight: View, over: Window, bias: View | None) -> View:
    """x (N, G C, *spatial) with weight (G, M, C, *kernel) and bias (G M,) -> (N, G M, *outputs).

    Weights of another dtype are converted where they are read, so that small ones stay small.
    """
    rank = len(over.kernel)
    groups, filters, channels = weight.shape[:3]
    padded = pad(builder, x, (0, 0, *over.before), (0, 0, *over.after), 0)
    seen = slide(padded.split_axis(1, (groups, channels)), over)
    shape = (seen.shape[0], groups, filters, *seen.shape[3 : 3 + rank])
    channel, total = 3 + rank, 4 + 2 * rank
    kernel_axes = range(channel + 1, total)
    operand = multiply(
        cast(builder.read(weight, (1, 2, channel, *kernel_axes), total), x.dtype),
        builder.read(seen, (0, 1, channel, *range(3, channel), *kernel_axes), total),
    )
    value: Expression = Accumulated(x.dtype)
    if bias is not None:
        value = add(value, builder.read(bias.split_axis(0, (groups, filters)), (1, 2), len(shape)))
    result = builder.reduce("sum", shape, (channels, *over.kernel), operand, value)
    return builder.reshape(result, (shape[0], groups * filters, *shape[3:]))


def grouped(node: Node, weight: View) -> View:
    """Weight (M, C, *kernel) of a Conv by its groups: (G, M / G, C, *kernel)."""
    groups = node.attributes.get("group", 1)
    return weight.split_axis(0, (groups, weight.shape[0] // groups))


def _conv(builder: Builder, node: Node) -> View:
    x, weight = node.view(0), node.view(1)
    over = window(node, weight.shape[2:], x.shape[2:])
    return convolve(builder, x, grouped(node, weight), over, node.optional(2))


def _conv_transpose(builder: Builder, node: Node) -> View:
    """A convolution of x, spread out by its stride, with the kernel turned round."""
    x, weight = node.view(0), node.view(1)
    over = window(node, weight.shape[2:], x.shape[2:])
    outputs, begins = _transposed_outputs(node, over, x.shape[2:])
    for axis, stride in enumerate(over.strides, 2):
        x = _spread(builder, x, axis, stride)
    before = tuple(reach - 1 - begin for reach, begin in zip(over.reach, begins, strict=True))
    after = tuple(
        extent + reach - 1 - low - spread
        for extent, reach, low, spread in zip(outputs, over.reach, before, x.shape[2:], strict=True)
    )
    dense = Window(over.kernel, (1,) * len(before), over.dilations, before, after)
    return convolve(builder, x, _turned(node, weight), dense, node.optional(2))


def _transposed_outputs(
    node: Node, over: Window, spatial: Sequence[int]
) -> tuple[list[int], tuple[int, ...]]:
    """Output extents, and the cells cut off at the beginning of each axis."""
    extra = node.attributes.get("output_padding", (0,) * len(spatial))
    full = [
        stride * (extent - 1) + reach + more
        for extent, stride, reach, more in zip(spatial, over.strides, over.reach, extra, strict=True)
    ]
    mode = node.attributes.get("auto_pad", b"NOTSET")
    wanted = node.attributes.get("output_shape")
    if wanted is None and mode.startswith(b"SAME"):
        wanted = [extent * stride for extent, stride in zip(spatial, over.strides, strict=True)]
    if wanted is None:
        cuts = zip(full, over.before, over.after, strict=True)
        return [extent - low - high for extent, low, high in cuts], over.before
    totals = [max(extent - kept, 0) for extent, kept in zip(full, wanted, strict=True)]
    # ONNX: an odd cell is cut at the end for SAME_UPPER, else at the beginning.
    return list(wanted), tuple(n // 2 if mode == b"SAME_UPPER" else n - n // 2 for n in totals)


def _spread(builder: Builder, x: View, axis: int, stride: int) -> View:
    """Each element of the axis followed by stride - 1 zeros."""
    if stride == 1:
        return x
    shape = (*x.shape[: axis + 1], stride, *x.shape[axis + 1 :])
    element = builder.read(x.insert(axis + 1).expand(shape))
    first = AxisIndex(axis + 1)
    spread = builder.map(shape, select(call("equal", first, like(0, first)), element, like(0, element)))
    return builder.reshape(spread, (*x.shape[:axis], x.shape[axis] * stride, *x.shape[axis + 1 :]))


def _turned(node: Node, weight: View) -> View:
    """Weight (C, M / G, *kernel) of a ConvTranspose as (G, M / G, C / G, *kernel), the kernel reversed."""
    groups = node.attributes.get("group", 1)
    split = weight.split_axis(0, (groups, weight.shape[0] // groups))
    turned = split.transpose((0, 2, 1, *range(3, len(split.shape))))
    for axis, extent in enumerate(turned.shape[3:], 3):
        turned = turned.slice(axis, extent - 1, extent, -1)
    return turned


OPERATORS: dict[str, Callable[[Builder, Node], View]] = {
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
}
