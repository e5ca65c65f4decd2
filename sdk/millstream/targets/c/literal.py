"""Numbers as C text that reads back to exactly the same number."""

from __future__ import annotations

import math

import numpy as np

from millstream_runtime.program import item_size, limits

TYPES = {"float32": "float", "float64": "double", "bool": "bool"} | {
    f"{sign}int{bits}": f"{sign}int{bits}_t" for sign in ("", "u") for bits in (8, 16, 32, 64)
}
#: C11 has no float16: memory holds its bits.
TYPES["float16"] = TYPES["uint16"]


def literal(value: float | int | bool, dtype: str) -> str:
    """A constant of the dtype; one below zero carries its sign outermost."""
    if dtype == "bool":
        return "true" if value else "false"
    if dtype == "float16":
        return f"{np.float16(value).view(np.uint16):#06x}U"
    if dtype.startswith("float"):
        return _float(float(value), dtype)
    if int(value) == limits(dtype)[0] and dtype.startswith("int"):
        return f"{dtype.upper()}_MIN"
    if item_size(dtype) == 8:
        return f"{dtype.upper()}_C({int(value)})"
    return f"{int(value)}{'U' if dtype.startswith('uint') else ''}"


def _float(value: float, dtype: str) -> str:
    """The shortest decimal that rounds to the float; C has names for what no decimal says."""
    if not math.isfinite(value):
        name = "NAN" if math.isnan(value) else "-INFINITY" if value < 0 else "INFINITY"
        return f"(double){name}" if dtype == "float64" else name
    if dtype == "float64":
        return repr(value)
    with np.errstate(over="ignore"):
        narrow = np.float32(value)
    return f"{narrow!s}F" if np.isfinite(narrow) else _float(float(narrow), dtype)
