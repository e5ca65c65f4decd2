"""How precise the reference is, and for which dtypes.

Float operators compute in float64 and round once to their own dtype: the reference is what every backend
is held against, so it has to be the more precise side. Integers are exact and stay as they are.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

from millstream.errors import UnsupportedModel

_FLOATS = ("float16", "float32", "float64")
_SIGNED = ("int4", "int8", "int16", "int32", "int64")
_UNSIGNED = ("uint4", "uint8", "uint16", "uint32", "uint64")
#: The dtypes of all operators, by name because the 4-bit integers are not NumPy's own.
DTYPES = frozenset(("bool", *_FLOATS, *_SIGNED, *_UNSIGNED))

Operator = Callable[..., np.ndarray | tuple[np.ndarray, ...]]


def wide(x: np.ndarray) -> np.ndarray:
    """A floating array (float16, float32, float64) as float64; any other dtype as it is."""
    return x.astype(np.float64) if np.issubdtype(x.dtype, np.floating) else x


def known(dtype: np.dtype) -> np.dtype:
    """The dtype itself, when operators are defined for it; else raise UnsupportedModel."""
    if dtype.name not in DTYPES:
        raise UnsupportedModel(
            f"the dtype {dtype.name}",
            why="the reference defines no operator on it",
            fix="use float16, float32, float64, bool or an integer type of 4 bits or more",
        )
    return dtype


def rounded_once(function: Callable[..., np.ndarray]) -> Operator:
    """`function` applied to widened arrays, its result rounded to the dtype of the first array.

    Attributes (keywords) pass unchanged. The wrapped function keeps its name and signature.
    """

    @functools.wraps(function)
    def operator(first: np.ndarray, *others: np.ndarray | None, **attributes: object) -> np.ndarray:
        widened = (None if x is None else wide(x) for x in others)
        result = function(wide(first), *widened, **attributes)
        return np.asarray(result).astype(first.dtype)

    return operator
