"""Arithmetic and mathematical functions, element by element, with NumPy's (= ONNX's) broadcasting.

Source of every definition: the ONNX operator specification, opset 21.
"""

from __future__ import annotations

import functools
import math

import numpy as np

from millstream.reference.precision import Operator, rounded_once, wide


def divide(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a / b; integers truncate towards zero."""
    if np.issubdtype(a.dtype, np.integer):
        return (a - np.fmod(a, b)) // b
    return np.divide(a, b)


def modulo(a: np.ndarray, b: np.ndarray, fmod: int = 0) -> np.ndarray:
    """The remainder with the sign of the divisor, or with `fmod` of the dividend."""
    return np.fmod(a, b) if fmod else np.mod(a, b)


def power(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """x ** y in the dtype of x, whatever the dtype of y."""
    return np.power(wide(x), wide(y)).astype(x.dtype)


def maximum(*operands: np.ndarray) -> np.ndarray:
    """The largest of any number of operands; NaN wins."""
    return functools.reduce(np.maximum, operands)


def minimum(*operands: np.ndarray) -> np.ndarray:
    """The smallest of any number of operands; NaN wins."""
    return functools.reduce(np.minimum, operands)


def total(*operands: np.ndarray) -> np.ndarray:
    """The sum of any number of operands."""
    return functools.reduce(np.add, (wide(x) for x in operands)).astype(operands[0].dtype)


def mean(*operands: np.ndarray) -> np.ndarray:
    """The mean of any number of operands."""
    summed = functools.reduce(np.add, (wide(x) for x in operands))
    return (summed / len(operands)).astype(operands[0].dtype)


def clip(x: np.ndarray, min: np.ndarray | None = None, max: np.ndarray | None = None) -> np.ndarray:
    """x kept within [min, max]; when min is above max, everything becomes max."""
    raised = x if min is None else np.maximum(x, min)
    return raised if max is None else np.minimum(raised, max)


def erf(x: np.ndarray) -> np.ndarray:
    """The Gauss error function."""
    return np.vectorize(math.erf, otypes=[np.float64])(x)


OPERATORS: dict[str, Operator] = {
    "Abs": np.abs,
    "Acos": rounded_once(np.arccos),
    "Acosh": rounded_once(np.arccosh),
    "Add": np.add,
    "Asin": rounded_once(np.arcsin),
    "Asinh": rounded_once(np.arcsinh),
    "Atan": rounded_once(np.arctan),
    "Atanh": rounded_once(np.arctanh),
    "Ceil": np.ceil,
    "Clip": clip,
    "Cos": rounded_once(np.cos),
    "Cosh": rounded_once(np.cosh),
    "Div": divide,
    "Erf": rounded_once(erf),
    "Exp": rounded_once(np.exp),
    "Floor": np.floor,
    "Log": rounded_once(np.log),
    "Max": maximum,
    "Mean": mean,
    "Min": minimum,
    "Mod": modulo,
    "Mul": np.multiply,
    "Neg": np.negative,
    "Pow": power,
    "Reciprocal": np.reciprocal,
    "Round": np.rint,
    "Sign": np.sign,
    "Sin": rounded_once(np.sin),
    "Sinh": rounded_once(np.sinh),
    "Sqrt": np.sqrt,
    "Sub": np.subtract,
    "Sum": total,
    "Tan": rounded_once(np.tan),
    "Tanh": rounded_once(np.tanh),
}
