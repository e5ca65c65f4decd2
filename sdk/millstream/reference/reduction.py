"""Reductions, running sums and orderings along axes.

Float sums accumulate in float64 and round once; integer sums wrap in their own dtype.
Source of every definition: the ONNX operator specification, opset 21.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from millstream.reference.precision import Operator, wide

Reduce = Callable[..., Any]


def reduction(reduce: Reduce) -> Operator:
    """The ONNX operator that reduces with `reduce(x, axis, keepdims)` over the given axes.

    No axes mean all of them, or none at all with `noop_with_empty_axes`; the result has x's dtype.
    """

    def operator(
        x: np.ndarray,
        axes: np.ndarray | Sequence[int] | None = None,
        keepdims: int = 1,
        noop_with_empty_axes: int = 0,
    ) -> np.ndarray:
        chosen = () if axes is None else tuple(int(a) for a in axes)
        if not chosen and noop_with_empty_axes:
            return x
        result = reduce(wide(x), axis=chosen or None, keepdims=bool(keepdims))
        return np.asarray(result).astype(x.dtype)

    return operator


def smallest_value(dtype: np.dtype) -> Any:
    """The neutral element of a maximum."""
    if dtype.kind == "b":
        return False
    return np.iinfo(dtype).min if dtype.kind in "iu" else -np.inf


def largest_value(dtype: np.dtype) -> Any:
    """The neutral element of a minimum."""
    if dtype.kind == "b":
        return True
    return np.iinfo(dtype).max if dtype.kind in "iu" else np.inf


def reduce_max(x: np.ndarray, **over: Any) -> np.ndarray:
    """The largest; of nothing, the smallest value of the dtype."""
    return np.max(x, initial=smallest_value(x.dtype), **over)


def reduce_min(x: np.ndarray, **over: Any) -> np.ndarray:
    """The smallest; of nothing, the largest value of the dtype."""
    return np.min(x, initial=largest_value(x.dtype), **over)


def reduce_l1(x: np.ndarray, **over: Any) -> np.ndarray:
    """sum |x|"""
    return np.sum(np.abs(x), **over)


def reduce_l2(x: np.ndarray, **over: Any) -> np.ndarray:
    """sqrt(sum x^2)"""
    return np.sqrt(np.sum(x**2, **over))


def reduce_sum_square(x: np.ndarray, **over: Any) -> np.ndarray:
    """sum x^2"""
    return np.sum(x**2, **over)


def reduce_log_sum(x: np.ndarray, **over: Any) -> np.ndarray:
    """log(sum x)"""
    return np.log(np.sum(x, **over))


def reduce_log_sum_exp(x: np.ndarray, axis: tuple[int, ...] | None, keepdims: bool) -> np.ndarray:
    """log(sum e^x), from x less its largest so that nothing overflows"""
    peak = np.max(x, axis=axis, keepdims=True, initial=-np.inf)
    peak = np.where(np.isfinite(peak), peak, 0)
    y = np.log(np.sum(np.exp(x - peak), axis=axis, keepdims=True)) + peak
    return y if keepdims else y.squeeze(axis)


def arg_max(x: np.ndarray, axis: int = 0, keepdims: int = 1, select_last_index: int = 0) -> np.ndarray:
    """The int64 index of the first (or last) largest element along `axis`."""
    return _arg(np.argmax, x, axis, keepdims, select_last_index)


def arg_min(x: np.ndarray, axis: int = 0, keepdims: int = 1, select_last_index: int = 0) -> np.ndarray:
    """The int64 index of the first (or last) smallest element along `axis`."""
    return _arg(np.argmin, x, axis, keepdims, select_last_index)


def _arg(pick: Reduce, x: np.ndarray, axis: int, keepdims: int, last: int) -> np.ndarray:
    if last:
        return x.shape[axis] - 1 - pick(np.flip(x, axis), axis=axis, keepdims=bool(keepdims))
    return pick(x, axis=axis, keepdims=bool(keepdims))


def cumulative_sum(x: np.ndarray, axis: np.ndarray, exclusive: int = 0, reverse: int = 0) -> np.ndarray:
    """The running sum along `axis`, from the end with `reverse`, of what lies before with `exclusive`."""
    along = int(axis)
    turned = np.flip(x, along) if reverse else x
    sums = np.cumsum(wide(turned), axis=along)
    if exclusive:
        sums = np.roll(sums, 1, axis=along)
        np.moveaxis(sums, along, 0)[:1] = 0
    return (np.flip(sums, along) if reverse else sums).astype(x.dtype)


def top_k(
    x: np.ndarray, k: np.ndarray, axis: int = -1, largest: int = 1, sorted: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """The k largest (or smallest) along `axis` and their int64 indices, the lower index first among equals.

    The result is always sorted, which `sorted=0` leaves open.
    """
    count = int(np.asarray(k).item())
    if largest:
        # Sorting the flipped array upwards and reading it backwards keeps the lower index first.
        backwards = np.argsort(np.flip(x, axis), axis=axis, kind="stable")
        order = x.shape[axis] - 1 - np.flip(backwards, axis)
    else:
        order = np.argsort(x, axis=axis, kind="stable")
    chosen = np.take(order, np.arange(count), axis=axis)
    return np.take_along_axis(x, chosen, axis), chosen


OPERATORS: dict[str, Operator] = {
    "ArgMax": arg_max,
    "ArgMin": arg_min,
    "CumSum": cumulative_sum,
    "ReduceL1": reduction(reduce_l1),
    "ReduceL2": reduction(reduce_l2),
    "ReduceLogSum": reduction(reduce_log_sum),
    "ReduceLogSumExp": reduction(reduce_log_sum_exp),
    "ReduceMax": reduction(reduce_max),
    "ReduceMean": reduction(np.mean),
    "ReduceMin": reduction(reduce_min),
    "ReduceProd": reduction(np.prod),
    "ReduceSum": reduction(np.sum),
    "ReduceSumSquare": reduction(reduce_sum_square),
    "TopK": top_k,
}
