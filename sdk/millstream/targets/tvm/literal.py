"""Constants and vectors in TVMScript, shared by its printers."""

from __future__ import annotations

import math
from collections.abc import Sequence

from millstream_runtime.kernels.assembler import Index
from millstream_runtime.program import limits


def literal(value: float | int | bool, dtype: str) -> str:
    """A constant of exactly that dtype.

    A float zero is hidden in its bits: TVM takes 0 times anything for 0, which NaN and infinity break.
    """
    if dtype == "bool":
        return f"T.bool({bool(value)})"
    if dtype.startswith("float"):
        if value == 0:
            bits = dtype.replace("float", "int")
            minus = f"T.reinterpret('{dtype}', T.{bits}({limits(bits)[0]}))"
            return minus if math.copysign(1, value) < 0 else f"T.abs({minus})"
        text = repr(float(value))
        return f"T.{dtype}({text})" if text[-1].isdigit() else f"T.{dtype}('{text}')"
    if int(value) >= 2**63:
        return f"T.reinterpret('uint64', T.int64({int(value) - 2**64}))"
    return f"T.{dtype}({int(value)})"


def ramp(start: str, width: int, stride: int = 1) -> str:
    """`width` indices, `stride` apart."""
    return start if width == 1 else f"T.ramp({start}, {stride}, {width})"


def splat(text: str, width: int) -> str:
    """The same element `width` times."""
    return text if width == 1 else f"T.Broadcast({text}, {width})"


def index_text(index: Index, further: Sequence[str] = ()) -> str:
    """An index, and `further` terms of its sum."""
    terms = [name if factor == 1 else f"{name} * {factor}" for name, factor in index.terms]
    terms += further
    if index.offset or not terms:
        terms.append(str(index.offset))
    return " + ".join(terms)


def stored_dtype(dtype: str) -> str:
    """What elements of a dtype are in memory: a bool lies there as a byte, a float16 as its bits."""
    return {"bool": "uint8", "float16": "uint16"}.get(dtype, dtype)


def stored(value: str, dtype: str) -> str:
    """A value as it lies in memory."""
    return f"T.Cast('uint8', {value})" if dtype == "bool" else value


def loaded(place: str, dtype: str) -> str:
    """The value that lies at a place in memory."""
    return f"({place} != T.uint8(0))" if dtype == "bool" else place
