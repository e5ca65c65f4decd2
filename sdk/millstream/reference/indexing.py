"""Operators that read or write elements by index. Negative indices count from the end.

Source of every definition: the ONNX operator specification, opset 21.
"""

from __future__ import annotations

import numpy as np

from millstream.reference.precision import Operator
from millstream.reference.shape import Integers

#: How a scatter combines an update with what is there already.
_SCATTER: dict[str, np.ufunc] = {
    "add": np.add,
    "mul": np.multiply,
    "max": np.maximum,
    "min": np.minimum,
}


def slice_(
    x: np.ndarray,
    starts: Integers,
    ends: Integers,
    axes: Integers | None = None,
    steps: Integers | None = None,
) -> np.ndarray:
    """x cut by start, end and step along the given axes (or the first ones), as Python slices do."""
    chosen = range(len(starts)) if axes is None else axes
    strides = [1] * len(starts) if steps is None else steps
    cut = [slice(None)] * x.ndim
    for axis, start, end, step in zip(chosen, starts, ends, strides, strict=True):
        cut[int(axis)] = slice(int(start), int(end), int(step))
    return x[tuple(cut)]


def gather(x: np.ndarray, indices: np.ndarray, axis: int = 0) -> np.ndarray:
    """The slices of x at `indices` along `axis`."""
    return np.take(x, indices, axis=axis)


def gather_elements(x: np.ndarray, indices: np.ndarray, axis: int = 0) -> np.ndarray:
    """y[i, j] = x[indices[i, j], j] for axis 0, and likewise for others."""
    return x[_along(indices, axis)]


def gather_nd(x: np.ndarray, indices: np.ndarray, batch_dims: int = 0) -> np.ndarray:
    """The slices of x at the index tuples in the last axis of `indices`, batch by batch."""
    batch = np.indices(indices.shape[:batch_dims])
    open_axes = (1,) * (indices.ndim - 1 - batch_dims)
    grids = (grid.reshape(*grid.shape, *open_axes) for grid in batch)
    return x[(*grids, *np.moveaxis(indices, -1, 0))]


def scatter_elements(
    x: np.ndarray, indices: np.ndarray, updates: np.ndarray, axis: int = 0, reduction: str = "none"
) -> np.ndarray:
    """A copy of x with y[indices[i, j], j] set to (or combined with) updates[i, j] for axis 0."""
    return _scatter(x, _along(indices, axis), updates, reduction)


def scatter_nd(
    x: np.ndarray, indices: np.ndarray, updates: np.ndarray, reduction: str = "none"
) -> np.ndarray:
    """A copy of x with slices at the index tuples set to (or combined with) the updates."""
    return _scatter(x, tuple(np.moveaxis(indices, -1, 0)), updates, reduction)


def _along(indices: np.ndarray, axis: int) -> tuple[np.ndarray, ...]:
    places: list[np.ndarray] = [*np.indices(indices.shape, sparse=True)]
    places[axis] = indices
    return tuple(places)


def _scatter(
    x: np.ndarray, places: tuple[np.ndarray, ...], updates: np.ndarray, reduction: str
) -> np.ndarray:
    y = x.copy()
    if reduction == "none":
        y[places] = updates
    else:
        _SCATTER[reduction].at(y, places, updates)
    return y


OPERATORS: dict[str, Operator] = {
    "Gather": gather,
    "GatherElements": gather_elements,
    "GatherND": gather_nd,
    "ScatterElements": scatter_elements,
    "ScatterND": scatter_nd,
    "Slice": slice_,
}
