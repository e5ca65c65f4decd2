"""Weights of 4 and of 2 bits: several in one byte, and how a program reads them.

The lowest bits of a byte hold the first weight, and each is stored as an unsigned number:

    weight = int8((byte >> (bits * part)) & (2^bits - 1)) - 2^(bits - 1)

Whatever understands the operations of programs can read them; `unpacked` is the form that dot products know.
"""

from __future__ import annotations

import numpy as np

from millstream_runtime.program import Call, Constant, Expression, Load

#: Of weights that are packed, the fewest first.
PACKED_BITS = (2, 4)
_BYTE = 8


def parts_of(bits: int) -> int:
    """How many weights lie in a byte."""
    return _BYTE // bits


def bits_for(values: np.ndarray) -> int:
    """The fewest bits, 2, 4 or 8, that hold every one of these int8."""
    held = (bits for bits in PACKED_BITS if values.min() >= -_half(bits) and values.max() < _half(bits))
    return next(held, _BYTE)


def pack(parts: np.ndarray, bits: int) -> np.ndarray:
    """Bytes (uint8) of int8 weights (parts, ...) that lie in one byte each."""
    shifts = bits * np.arange(len(parts)).reshape(-1, *[1] * (parts.ndim - 1))
    return ((parts.astype(np.int64) + _half(bits)) << shifts).sum(axis=0).astype(np.uint8)


def unpack(packed: np.ndarray, bits: int) -> np.ndarray:
    """What `pack` was given; int8 stay as they are, as the only part."""
    if bits == _BYTE:
        return packed[np.newaxis]
    shifts = bits * np.arange(parts_of(bits)).reshape(-1, *[1] * packed.ndim)
    return ((packed.astype(np.int64) >> shifts) % 2**bits - _half(bits)).astype(np.int8)


def unpacked(load: Load, bits: int, part: int) -> Expression:
    """One weight (int8) of a byte; `load` itself where a byte is one weight."""
    if bits == _BYTE:
        return load
    shift = Constant(bits * part, "uint8")
    low = Call(
        "bit_and", (Call("shift_right", (load, shift), "uint8"), Constant(2**bits - 1, "uint8")), "uint8"
    )
    return Call("subtract", (Call("cast", (low,), "int8"), Constant(_half(bits), "int8")), "int8")


def weight_in(expression: Expression) -> tuple[Load, int, int] | None:
    """The load, the bits and the part of an expression that `unpacked` made."""
    match expression:
        case Load(dtype="int8"):
            return expression, _BYTE, 0
        case Call(
            "subtract",
            (Call("cast", (Call("bit_and", (Call("shift_right", (Load() as load, shift)), _)),)), _),
        ):
            amount = shift.value if isinstance(shift, Constant) else -1
            for bits in PACKED_BITS:
                part = int(amount) // bits
                if expression == unpacked(load, bits, part):
                    return load, bits, part
    return None


def _half(bits: int) -> int:
    return 2 ** (bits - 1)
