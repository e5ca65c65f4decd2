"""GridSample: reading between the elements of an image, at places that are data.

Source of the definition: the ONNX operator specification, opset 20. Interpolation is separable, so the
neighbours of each axis are found alone, and each combination of them is read once.
"""

from __future__ import annotations

import itertools

import numpy as np

from millstream.reference.kernels import cubic, linear
from millstream.reference.precision import Operator, rounded_once

#: As torch has it.
_CUBIC = cubic(-0.75)


def grid_sample(
    x: np.ndarray,
    grid: np.ndarray,
    align_corners: int = 0,
    mode: str = "linear",
    padding_mode: str = "zeros",
) -> np.ndarray:
    """x (N, C, *spatial) at places grid (N, *result, axes), which name the last spatial axis first.

    -1 and 1 are the ends of an axis: the middles of its first and last elements with `align_corners`, else
    their outer edges.
    """
    images = np.moveaxis(x, 1, -1)
    which = np.arange(len(x)).reshape(-1, *(1,) * (grid.ndim - 2))
    axes = []
    for size, places in zip(x.shape[2:], np.moveaxis(grid, -1, 0)[::-1], strict=True):
        inner = (places + 1) / 2 * (size - 1) if align_corners else ((places + 1) * size - 1) / 2
        axes.append(_neighbours(inner, size, mode, padding_mode, bool(align_corners)))
    total = np.zeros((*grid.shape[:-1], x.shape[1]))
    for chosen in itertools.product(*axes):
        weight = np.prod([share for _, share in chosen], axis=0)
        total += weight[..., None] * images[(which, *(index for index, _ in chosen))]
    return np.moveaxis(total, -1, 1)


def _neighbours(
    places: np.ndarray, size: int, mode: str, padding: str, align_corners: bool
) -> list[tuple[np.ndarray, np.ndarray]]:
    """The neighbours of each place on one axis: their indices, and how much each counts."""
    if mode == "nearest":
        near, offsets, kernel = np.rint(places), [0], np.ones_like
    elif mode == "linear":
        near, offsets, kernel = np.floor(places), [0, 1], linear
    else:
        near, offsets, kernel = np.floor(places), [-1, 0, 1, 2], _CUBIC
    found = []
    for offset in offsets:
        index = near + offset
        share = kernel(np.abs(places - index))
        if padding == "zeros":
            share = np.where((index < 0) | (index > size - 1), 0.0, share)
        if padding == "reflection":
            index = _reflected(index, size, align_corners)
        found.append((np.clip(index, 0, size - 1).astype(int), share))
    return found


def _reflected(index: np.ndarray, size: int, align_corners: bool) -> np.ndarray:
    """Indices mirrored at the middles of the end elements, or at their outer edges, until they are inside."""
    last = size - 1 if align_corners else size - 0.5
    first = size - 1 - last
    period = max(2 * (last - first), 1)
    along = np.mod(index - first, period)
    return np.minimum(along, period - along) + first


OPERATORS: dict[str, Operator] = {"GridSample": rounded_once(grid_sample)}
