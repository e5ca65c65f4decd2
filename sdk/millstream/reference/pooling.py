"""Pooling in any number of dimensions.

Source of every definition: the ONNX operator specification, opset 21 (with opset 22's rule that a
window which starts in the padding at the end does not count, as torch has it).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from millstream.reference.precision import Operator, rounded_once
from millstream.reference.reduction import smallest_value
from millstream.reference.windows import Window, pad_spatial, slide, window


def average_pool(
    x: np.ndarray,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    count_include_pad: int = 0,
    dilations: Sequence[int] | None = None,
    kernel_shape: Sequence[int] = (),
    pads: Sequence[int] | None = None,
    strides: Sequence[int] | None = None,
) -> np.ndarray:
    """The mean of each window; padding counts when `count_include_pad`, cells beyond it never do."""
    over = window(x.shape[2:], kernel_shape, strides, dilations, pads, auto_pad)
    beyond = _beyond(x.shape[2:], over, ceil_mode)
    counted = pad_spatial(np.ones_like(x), over.pads, count_include_pad)
    counts = _kernel_sum(slide(pad_spatial(counted, beyond, 0), over), over)
    sums = _kernel_sum(_windows(x, over, beyond, 0), over)
    return sums / counts


def max_pool(
    x: np.ndarray,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    dilations: Sequence[int] | None = None,
    kernel_shape: Sequence[int] = (),
    pads: Sequence[int] | None = None,
    storage_order: int = 0,
    strides: Sequence[int] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The largest of each window and its int64 index in the flattened x.

    `storage_order` 0 counts the index with the last spatial axis fastest, 1 with the first.
    """
    over = window(x.shape[2:], kernel_shape, strides, dilations, pads, auto_pad)
    beyond = _beyond(x.shape[2:], over, ceil_mode)
    windows = _windows(x, over, beyond, smallest_value(x.dtype))
    flat = windows.reshape(*windows.shape[: x.ndim], -1)
    places = _windows(_places(x.shape, storage_order), over, beyond, -1).reshape(flat.shape)
    best = flat.argmax(axis=-1)[..., None]
    return np.take_along_axis(flat, best, -1)[..., 0], np.take_along_axis(places, best, -1)[..., 0]


def lp_pool(
    x: np.ndarray,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    dilations: Sequence[int] | None = None,
    kernel_shape: Sequence[int] = (),
    p: int = 2,
    pads: Sequence[int] | None = None,
    strides: Sequence[int] | None = None,
) -> np.ndarray:
    """The p-norm of each window."""
    over = window(x.shape[2:], kernel_shape, strides, dilations, pads, auto_pad)
    windows = _windows(np.abs(x) ** p, over, _beyond(x.shape[2:], over, ceil_mode), 0)
    return _kernel_sum(windows, over) ** (1 / p)


def global_average_pool(x: np.ndarray) -> np.ndarray:
    """The mean over all spatial axes, which stay with extent 1."""
    return x.mean(axis=tuple(range(2, x.ndim)), keepdims=True)


def global_max_pool(x: np.ndarray) -> np.ndarray:
    """The largest over all spatial axes, which stay with extent 1."""
    return x.max(axis=tuple(range(2, x.ndim)), keepdims=True)


def global_lp_pool(x: np.ndarray, p: int = 2) -> np.ndarray:
    """The p-norm over all spatial axes, which stay with extent 1."""
    return (np.abs(x) ** p).sum(axis=tuple(range(2, x.ndim)), keepdims=True) ** (1 / p)


def _windows(x: np.ndarray, over: Window, beyond: Sequence[tuple[int, int]], value: float) -> np.ndarray:
    return slide(pad_spatial(pad_spatial(x, over.pads, value), beyond, value), over)


def _kernel_sum(windows: np.ndarray, over: Window) -> np.ndarray:
    return windows.sum(axis=tuple(range(-len(over.kernel), 0)))


def _beyond(spatial: Sequence[int], over: Window, ceil_mode: int) -> tuple[tuple[int, int], ...]:
    """Cells to add behind the padding so that `ceil_mode` gets its last, partial window."""
    if not ceil_mode:
        return ((0, 0),) * len(over.kernel)
    pairs = []
    for size, reach, stride, (begin, end) in zip(spatial, over.reach, over.strides, over.pads, strict=True):
        steps = -(-(size + begin + end - reach) // stride)
        if steps * stride >= size + begin:
            steps -= 1
        pairs.append((0, max(steps * stride + reach - (size + begin + end), 0)))
    return tuple(pairs)


def _places(shape: Sequence[int], storage_order: int) -> np.ndarray:
    """The flat index of every element of an array (N, C, *spatial)."""
    if not storage_order:
        return np.arange(np.prod(shape)).reshape(shape)
    turned = np.arange(np.prod(shape)).reshape(*shape[:2], *reversed(shape[2:]))
    return turned.transpose(0, 1, *range(len(shape) - 1, 1, -1))


OPERATORS: dict[str, Operator] = {
    "AveragePool": rounded_once(average_pool),
    "GlobalAveragePool": rounded_once(global_average_pool),
    "GlobalLpPool": rounded_once(global_lp_pool),
    "GlobalMaxPool": global_max_pool,
    "LpPool": rounded_once(lp_pool),
    "MaxPool": max_pool,
}
