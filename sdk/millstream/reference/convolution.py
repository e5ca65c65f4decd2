"""Convolution and transposed convolution in any number of dimensions.

Float convolutions accumulate in float64 and round once; integer convolutions are exact.
Source of every definition: the ONNX operator specification, opset 21.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from millstream.reference.precision import Operator, rounded_once
from millstream.reference.windows import pad_spatial, slide, window


def convolve(
    x: np.ndarray,
    w: np.ndarray,
    b: np.ndarray | None = None,
    auto_pad: str = "NOTSET",
    dilations: Sequence[int] | None = None,
    group: int = 1,
    kernel_shape: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    strides: Sequence[int] | None = None,
) -> np.ndarray:
    """x (N, C, *spatial) with w (M, C / group, *kernel) and b (M,) -> (N, M, *outputs)."""
    over = window(x.shape[2:], kernel_shape or w.shape[2:], strides, dilations, pads, auto_pad)
    windows = slide(pad_spatial(x, over.pads, 0), over)
    y = np.concatenate(
        [
            _dot(channels, filters)
            for channels, filters in zip(np.split(windows, group, axis=1), np.split(w, group), strict=True)
        ],
        axis=1,
    )
    return y if b is None else y + _per_channel(b, y.ndim)


def _dot(windows: np.ndarray, filters: np.ndarray) -> np.ndarray:
    """windows (N, C, *outputs, *kernel), filters (M, C, *kernel) -> (N, M, *outputs)."""
    rank = filters.ndim - 2
    kernel_axes = list(range(2 + rank, 2 + 2 * rank))
    y = np.tensordot(windows, filters, axes=([1, *kernel_axes], list(range(1, 2 + rank))))
    return np.moveaxis(y, -1, 1)


def _per_channel(b: np.ndarray, rank: int) -> np.ndarray:
    return b.reshape(1, -1, *(1,) * (rank - 2))


def convolve_transposed(
    x: np.ndarray,
    w: np.ndarray,
    b: np.ndarray | None = None,
    auto_pad: str = "NOTSET",
    dilations: Sequence[int] | None = None,
    group: int = 1,
    kernel_shape: Sequence[int] | None = None,
    output_padding: Sequence[int] | None = None,
    output_shape: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    strides: Sequence[int] | None = None,
) -> np.ndarray:
    """The gradient of a convolution with respect to its input.

    x (N, C, *spatial) with w (C, M / group, *kernel) and b (M,) -> (N, M, *outputs), where an output
    extent is stride (input - 1) + output_padding + dilation (kernel - 1) + 1 - pads, unless
    `output_shape` or a SAME `auto_pad` (input times stride) fixes it.
    """
    over = window(x.shape[2:], kernel_shape or w.shape[2:], strides, dilations, pads, "NOTSET")
    extra = tuple(output_padding or (0,) * len(over.kernel))
    full = [
        stride * (size - 1) + reach + more
        for size, stride, reach, more in zip(x.shape[2:], over.strides, over.reach, extra, strict=True)
    ]
    if output_shape is None and auto_pad.startswith("SAME"):
        output_shape = [size * stride for size, stride in zip(x.shape[2:], over.strides, strict=True)]
    crops = over.pads if output_shape is None else _crops(full, output_shape, auto_pad)
    y = np.concatenate(
        [
            _spread(channels, filters, over.strides, over.dilations, full)
            for channels, filters in zip(np.split(x, group, axis=1), np.split(w, group), strict=True)
        ],
        axis=1,
    )
    y = _crop(y, crops)
    return y if b is None else y + _per_channel(b, y.ndim)


def _crops(full: Sequence[int], output_shape: Sequence[int], auto_pad: str) -> tuple[tuple[int, int], ...]:
    """Cells to take away at (begin, end) of each axis; below zero at the end means cells to add."""
    pairs = []
    for size, wanted in zip(full, output_shape, strict=True):
        total = size - wanted
        small = max(total, 0) // 2
        begin = small if auto_pad == "SAME_UPPER" else max(total, 0) - small
        pairs.append((begin, total - begin))
    return tuple(pairs)


def _spread(
    x: np.ndarray, w: np.ndarray, strides: Sequence[int], dilations: Sequence[int], full: Sequence[int]
) -> np.ndarray:
    """Every input cell adds its scaled kernel to the output of extents `full`, nothing cropped yet."""
    y = np.zeros((x.shape[0], w.shape[1], *full), x.dtype)
    for tap in np.ndindex(*w.shape[2:]):
        reached = tuple(
            slice(t * dilation, t * dilation + stride * (size - 1) + 1, stride)
            for t, dilation, stride, size in zip(tap, dilations, strides, x.shape[2:], strict=True)
        )
        y[(..., *reached)] += np.einsum("nc...,cm->nm...", x, w[(..., *tap)])
    return y


def _crop(y: np.ndarray, crops: Sequence[tuple[int, int]]) -> np.ndarray:
    extended = pad_spatial(y, [(0, max(-end, 0)) for _, end in crops], 0)
    kept = (
        slice(begin, size - max(end, 0)) for (begin, end), size in zip(crops, extended.shape[2:], strict=True)
    )
    return extended[(..., *kept)]


OPERATORS: dict[str, Operator] = {
    "Conv": rounded_once(convolve),
    "ConvTranspose": rounded_once(convolve_transposed),
}
