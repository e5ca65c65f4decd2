"""Rounding of float32 as arithmetic, for machines that have no instruction for it.

LLVM calls libm there, and a kernel is to stand alone. These take the place of TVMScript's functions of the
same names while a script is read; what is no float32 stays with those.
"""

from __future__ import annotations

from typing import Any

from tvm.tirx.script import builder

#: Its stubs do not know what a script may write, such as a number for the count of lanes.
_T: Any = builder

#: From here on every float32 is whole, so that adding it drops the fraction, to the even neighbour.
_WHOLE = 2.0**23
_SIGN = -(2**31)


def nearbyint(x: Any) -> Any:
    """The whole number next to x, the even one where two are; zero keeps the sign of x."""
    if not _is_float32(x):
        return _T.nearbyint(x)
    whole = _constant(_T.float32(_WHOLE), x)
    sign = _T.bitwise_and(_as("int32", x), _constant(_T.int32(_SIGN), x))
    rounded = _T.bitwise_or(_as("int32", (_T.abs(x) + whole) - whole), sign)
    # What is beyond is whole already, or NaN.
    return _T.Select(_T.abs(x) < whole, _as("float32", rounded), x)


def floor(x: Any) -> Any:
    """The largest whole number not above x."""
    if not _is_float32(x):
        return _T.floor(x)
    near = nearbyint(x)
    return _T.Select(near > x, near - _constant(_T.float32(1), x), near)


def ceil(x: Any) -> Any:
    """The smallest whole number not below x."""
    if not _is_float32(x):
        return _T.ceil(x)
    minus = _constant(_T.float32(-1), x)
    # Not by way of the neighbour above: what lies between minus one and zero rounds to minus zero.
    return minus * floor(minus * x)


def _is_float32(x: Any) -> bool:
    return str(x.ty).split("x")[0] == "float32"


def _lanes(x: Any) -> str:
    """What follows the name of a scalar in the type of x: nothing, or such as x4."""
    return str(x.ty).removeprefix("float32").removeprefix("int32")


def _constant(scalar: Any, like: Any) -> Any:
    """The number in as many lanes as `like` has."""
    lanes = _lanes(like)[1:]
    return _T.Broadcast(scalar, int(lanes)) if lanes else scalar


def _as(dtype: str, x: Any) -> Any:
    """The bits of x as another dtype of 32 bits."""
    return _T.reinterpret(dtype + _lanes(x), x)
