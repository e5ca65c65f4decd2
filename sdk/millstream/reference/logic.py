"""Comparisons, boolean and bitwise operators, selection and casts, element by element.

Source of every definition: the ONNX operator specification, opset 21.
"""

from __future__ import annotations

import numpy as np
import onnx.helper

from millstream.reference.precision import Operator, known


def is_infinite(x: np.ndarray, detect_negative: int = 1, detect_positive: int = 1) -> np.ndarray:
    """Where x is an infinity of a sign that is asked for."""
    return (np.isposinf(x) & bool(detect_positive)) | (np.isneginf(x) & bool(detect_negative))


def bit_shift(x: np.ndarray, shift: np.ndarray, direction: str) -> np.ndarray:
    """x shifted by `shift` bits, `direction` being LEFT or RIGHT."""
    return np.left_shift(x, shift) if direction == "LEFT" else np.right_shift(x, shift)


def cast(x: np.ndarray, to: int, saturate: int = 1) -> np.ndarray:
    """x as the ONNX data type `to`.

    Floats truncate towards zero on the way to integers, integers keep their low bits, anything but zero
    is True. A float outside the integer's range has no defined result. `saturate` speaks of 8-bit floats
    only; they and other dtypes that the reference does not know raise UnsupportedModel.
    """
    return x.astype(known(onnx.helper.tensor_dtype_to_np_dtype(to)))


def cast_like(x: np.ndarray, like: np.ndarray, saturate: int = 1) -> np.ndarray:
    """x in the dtype of `like`, by the rules of `cast`."""
    return cast(x, onnx.helper.np_dtype_to_tensor_dtype(like.dtype), saturate)


def where(condition: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """x where the condition holds, else y."""
    return np.where(condition, x, y)


OPERATORS: dict[str, Operator] = {
    "And": np.logical_and,
    "BitShift": bit_shift,
    "BitwiseAnd": np.bitwise_and,
    "BitwiseNot": np.bitwise_not,
    "BitwiseOr": np.bitwise_or,
    "BitwiseXor": np.bitwise_xor,
    "Cast": cast,
    "CastLike": cast_like,
    "Equal": np.equal,
    "Greater": np.greater,
    "GreaterOrEqual": np.greater_equal,
    "IsInf": is_infinite,
    "IsNaN": np.isnan,
    "Less": np.less,
    "LessOrEqual": np.less_equal,
    "Not": np.logical_not,
    "Or": np.logical_or,
    "Where": where,
    "Xor": np.logical_xor,
}
