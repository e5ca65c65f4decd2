"""Constants and the shortest formulas of TVMScript, shared by its printers."""

from __future__ import annotations

import math

from millstream_runtime.program import item_size


def limits(dtype: str) -> tuple[int, int]:
    """The lowest and the highest integer of a dtype."""
    bits = item_size(dtype) * 8
    return (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if dtype.startswith("int") else (0, 2**bits - 1)


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


def logistic(x: str, small: str, dtype: str) -> str:
    """1 / (1 + exp(-x)) from small = exp(-|x|), which cannot overflow; x and small are names."""
    zero, one = literal(0, dtype), literal(1, dtype)
    return f"T.Div(T.Select({x} >= {zero}, {one}, {small}), {one} + {small})"
