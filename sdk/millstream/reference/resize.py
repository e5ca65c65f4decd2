"""Resize: every axis in turn is a weighted mean of neighbours, so every axis is a matrix.

Source of the definition: the ONNX operator specification, opset 19; where that is silent (lengths that are
no whole numbers, the end of the data) the ONNX reference evaluator and its official cases.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from millstream.errors import UnsupportedModel
from millstream.reference.kernels import Kernel, cubic, linear
from millstream.reference.precision import Operator, rounded_once


@dataclass(frozen=True)
class _Axis:
    """How one axis is resized: its extent before and after, its scale, and the part of it that is shown."""

    size: int
    result: int
    scale: float
    start: float
    end: float


@dataclass(frozen=True)
class _Interpolation:
    """`kernel` weighs a neighbour by its distance and is 0 from `reach` on; an antialiased one is stretched
    over all that falls together. `excluding` leaves out neighbours beyond the ends instead of repeating
    the last."""

    kernel: Kernel
    reach: int
    antialias: bool
    excluding: bool


def resize(
    x: np.ndarray,
    roi: np.ndarray | None = None,
    scales: np.ndarray | None = None,
    sizes: np.ndarray | None = None,
    antialias: int = 0,
    axes: Sequence[int] | None = None,
    coordinate_transformation_mode: str = "half_pixel",
    cubic_coeff_a: float = -0.75,
    exclude_outside: int = 0,
    extrapolation_value: float = 0.0,
    keep_aspect_ratio_policy: str = "stretch",
    mode: str = "nearest",
    nearest_mode: str = "round_prefer_floor",
) -> np.ndarray:
    """x with the given axes (or all) scaled; `roi` counts with tf_crop_and_resize alone."""
    chosen = [axis % x.ndim for axis in (range(x.ndim) if axes is None else axes)]
    window = roi if coordinate_transformation_mode == "tf_crop_and_resize" else None
    plans = _axes([x.shape[axis] for axis in chosen], window, scales, sizes, keep_aspect_ratio_policy)
    reach, kernel = (1, linear) if mode == "linear" else (2, cubic(cubic_coeff_a))
    interpolation = _Interpolation(kernel, reach, bool(antialias), bool(exclude_outside))
    for axis, plan in zip(chosen, plans, strict=True):
        places = _places(plan, coordinate_transformation_mode)
        if mode == "nearest":
            y = np.take(x, np.clip(_NEAREST[nearest_mode](places), 0, plan.size - 1).astype(int), axis)
        else:
            y = np.moveaxis(np.tensordot(_weights(plan, places, interpolation), x, (1, axis)), 0, axis)
        if window is not None:
            outside = (places < 0) | (places > plan.size - 1)
            y = np.where(_along(outside, axis, x.ndim), extrapolation_value, y)
        x = y
    return x


def _axes(
    lengths: Sequence[int],
    window: np.ndarray | None,
    scales: np.ndarray | None,
    sizes: np.ndarray | None,
    policy: str,
) -> list[_Axis]:
    """One plan for each resized axis."""
    starts, ends = np.split(window, 2) if window is not None else ([0.0] * len(lengths), [1.0] * len(lengths))
    if scales is not None and scales.size:
        # ONNX multiplies in float32: in float64 the same product may lie just under a whole number.
        results = np.floor(np.array(lengths, np.float32) * scales.astype(np.float32))
        ratios = np.array(scales, np.float64)
    elif sizes is not None and sizes.size:
        results, ratios = np.array(sizes, np.float64), sizes / np.array(lengths, np.float64)
        if policy != "stretch":
            ratios[:] = ratios.min() if policy == "not_larger" else ratios.max()
            results = np.floor(ratios * lengths + 0.5)
    else:
        raise UnsupportedModel("Resize without scales and without sizes", fix="give one of them")
    columns = zip(lengths, results, ratios, starts, ends, strict=True)
    return [_Axis(n, int(m), float(scale), float(a), float(b)) for n, m, scale, a, b in columns]


def _places(axis: _Axis, mode: str) -> np.ndarray:
    """Where each element of the result lies in the data, in elements of the data."""
    places, length = np.arange(axis.result, dtype=np.float64), axis.size * axis.scale
    if mode == "align_corners":
        return places * (axis.size - 1) / (length - 1) if length != 1 else np.zeros_like(places)
    if mode == "asymmetric":
        return places / axis.scale
    if mode == "tf_crop_and_resize":
        if length <= 1:
            return np.full_like(places, (axis.start + axis.end) * (axis.size - 1) / 2)
        step = (axis.end - axis.start) * (axis.size - 1) / (length - 1)
        return axis.start * (axis.size - 1) + places * step
    if mode == "pytorch_half_pixel" and length <= 1:
        return np.zeros_like(places)
    halves = (places + 0.5) / axis.scale - 0.5
    if mode == "half_pixel_symmetric":
        return halves + axis.size / 2 * (1 - axis.result / length)
    return halves


def _weights(axis: _Axis, places: np.ndarray, interpolation: _Interpolation) -> np.ndarray:
    """(result, size): what each element of the result takes of each element of the data."""
    shrink = min(axis.scale, 1.0) if interpolation.antialias else 1.0
    reach = int(np.ceil(interpolation.reach / shrink))
    neighbours = np.floor(places)[:, None] + np.arange(1 - reach, reach + 1)
    shares = interpolation.kernel(np.abs(neighbours - places[:, None]) * shrink)
    if interpolation.excluding:
        shares = np.where((neighbours < 0) | (neighbours > axis.size - 1), 0.0, shares)
    shares = shares / shares.sum(1, keepdims=True)
    weights = np.zeros((axis.result, axis.size))
    rows = np.broadcast_to(np.arange(axis.result)[:, None], neighbours.shape)
    np.add.at(weights, (rows, np.clip(neighbours, 0, axis.size - 1).astype(int)), shares)
    return weights


_NEAREST: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "round_prefer_floor": lambda places: np.ceil(places - 0.5),
    "round_prefer_ceil": lambda places: np.floor(places + 0.5),
    "floor": np.floor,
    "ceil": np.ceil,
}


def _along(values: np.ndarray, axis: int, rank: int) -> np.ndarray:
    """A vector laid along one axis of a tensor of that rank."""
    return values.reshape([-1 if other == axis else 1 for other in range(rank)])


OPERATORS: dict[str, Operator] = {"Resize": rounded_once(resize)}
