"""Operators that make tensors from a few numbers: constants, ranges, masks.

Source of every definition: the ONNX operator specification, opset 21.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx.helper

from millstream.reference.precision import Operator
from millstream.reference.shape import Integers


def constant(
    value: np.ndarray | None = None,
    value_float: float | None = None,
    value_floats: Sequence[float] | None = None,
    value_int: int | None = None,
    value_ints: Sequence[int] | None = None,
) -> np.ndarray:
    """The one attribute that is given; floats are float32, integers int64."""
    if value is not None:
        return value
    floats = value_floats if value_float is None else value_float
    if floats is not None:
        return np.array(floats, np.float32)
    return np.array(value_ints if value_int is None else value_int, np.int64)


def constant_of_shape(shape: Integers, value: np.ndarray | None = None) -> np.ndarray:
    """An array filled with the one element of `value`, or with float32 zeros."""
    fill = np.zeros(1, np.float32) if value is None else value
    return np.full(tuple(int(extent) for extent in shape), fill.item(), fill.dtype)


def range_(start: np.ndarray, limit: np.ndarray, delta: np.ndarray) -> np.ndarray:
    """start, start + delta, ... up to but without `limit`."""
    count = max(int(np.ceil((limit - start) / delta)), 0)
    return (start + np.arange(count) * delta).astype(start.dtype)


def eye_like(x: np.ndarray, dtype: int | None = None, k: int = 0) -> np.ndarray:
    """Ones on the k-th diagonal of a matrix of x's shape, in x's dtype or the ONNX type `dtype`."""
    chosen = x.dtype if dtype is None else onnx.helper.tensor_dtype_to_np_dtype(dtype)
    return np.eye(*x.shape, k=k, dtype=chosen)


def one_hot(indices: np.ndarray, depth: np.ndarray, values: np.ndarray, axis: int = -1) -> np.ndarray:
    """values[1] at each index along a new axis of extent `depth`, values[0] elsewhere.

    Negative indices count from the end; an index out of range gives values[0] throughout.
    """
    extent = int(depth.item())
    wrapped = np.where(indices < 0, indices + extent, indices)
    places = np.expand_dims(wrapped, axis)
    classes = np.arange(extent).reshape([-1 if i == axis % places.ndim else 1 for i in range(places.ndim)])
    return np.where(places == classes, values[1], values[0])


def trilu(x: np.ndarray, k: np.ndarray | None = None, upper: int = 1) -> np.ndarray:
    """The upper (or lower) triangle of the last two axes from the k-th diagonal on, zeros elsewhere."""
    diagonal = 0 if k is None else int(k.item())
    return np.triu(x, diagonal) if upper else np.tril(x, diagonal)


OPERATORS: dict[str, Operator] = {
    "Constant": constant,
    "ConstantOfShape": constant_of_shape,
    "EyeLike": eye_like,
    "OneHot": one_hot,
    "Range": range_,
    "Trilu": trilu,
}
