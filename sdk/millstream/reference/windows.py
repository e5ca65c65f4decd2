"""Sliding windows over the spatial axes of (N, C, *spatial): what convolution and pooling share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Window:
    """Kernel extents, strides, dilations and (begin, end) pads, one entry per spatial axis."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[tuple[int, int], ...]

    @property
    def reach(self) -> tuple[int, ...]:
        """The extent of a dilated kernel."""
        return tuple((k - 1) * d + 1 for k, d in zip(self.kernel, self.dilations, strict=True))


def window(
    spatial: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int] | None,
    dilations: Sequence[int] | None,
    pads: Sequence[int] | None,
    auto_pad: str,
) -> Window:
    """The window that the attributes of Conv and the pools describe, over an input of extents `spatial`.

    `pads` is ONNX's flat list, all begins before all ends. `auto_pad` is NOTSET, VALID, SAME_UPPER or
    SAME_LOWER; the SAME kinds give ceil(input / stride) outputs and put an odd cell of padding at the
    end (UPPER) or at the beginning (LOWER).
    """
    rank = len(kernel)
    bare = Window(tuple(kernel), tuple(strides or (1,) * rank), tuple(dilations or (1,) * rank), ())
    if auto_pad in ("SAME_UPPER", "SAME_LOWER"):
        pairs = _same(spatial, bare, auto_pad)
    elif auto_pad == "NOTSET" and pads:
        pairs = tuple(zip(pads[:rank], pads[rank:], strict=True))
    else:
        pairs = ((0, 0),) * rank
    return Window(bare.kernel, bare.strides, bare.dilations, pairs)


def _same(spatial: Sequence[int], bare: Window, auto_pad: str) -> tuple[tuple[int, int], ...]:
    pairs = []
    for size, reach, stride in zip(spatial, bare.reach, bare.strides, strict=True):
        total = max((-(-size // stride) - 1) * stride + reach - size, 0)
        small, large = total // 2, total - total // 2
        pairs.append((small, large) if auto_pad == "SAME_UPPER" else (large, small))
    return tuple(pairs)


def pad_spatial(x: np.ndarray, pads: Sequence[tuple[int, int]], value: float | int) -> np.ndarray:
    """x (N, C, *spatial) padded on its spatial axes with a constant."""
    return np.pad(x, [(0, 0), (0, 0), *pads], constant_values=value)


def slide(padded: np.ndarray, over: Window) -> np.ndarray:
    """Every window of an input that is padded already: (N, C, *spatial) -> (N, C, *outputs, *kernel)."""
    spatial_axes = tuple(range(2, padded.ndim))
    view = np.lib.stride_tricks.sliding_window_view(padded, over.reach, axis=spatial_axes)
    steps = (*over.strides, *over.dilations)
    return view[(..., *(slice(None, None, step) for step in steps))]
