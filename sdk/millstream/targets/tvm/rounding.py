"""Rounding of float32 as arithmetic, for machines that have no instruction for it.

LLVM calls libm there, and a kernel is to stand alone.
"""

from __future__ import annotations

from millstream_runtime.kernels.assembler import Assembler

_F, _I = "float32", "int32"
#: From here on every float32 is whole, so that adding it drops the fraction, to the even neighbour.
_WHOLE = 2.0**23
_SIGN = -(2**31)


def nearest(write: Assembler, x: str, width: int) -> str:
    """The whole number next to x, the even one where two are; zero keeps the sign of x."""
    x = write.bind(x, _F, width)
    whole, magnitude = write.number(_WHOLE, _F, width), f"T.abs({x})"
    sign = f"T.bitwise_and({write.bits(x, width)}, {write.number(_SIGN, _I, width)})"
    rounded = f"T.bitwise_or({write.bits(f'{magnitude} + {whole} - {whole}', width)}, {sign})"
    # What is beyond is whole already, or NaN.
    return f"T.Select({magnitude} < {whole}, {write.from_bits(rounded, width)}, {x})"


def floor(write: Assembler, x: str, width: int) -> str:
    """The largest whole number not above x."""
    x = write.bind(x, _F, width)
    near = write.bind(nearest(write, x, width), _F, width)
    return f"T.Select({near} > {x}, {near} - {write.number(1, _F, width)}, {near})"


def ceil(write: Assembler, x: str, width: int) -> str:
    """The smallest whole number not below x."""
    minus = write.number(-1, _F, width)
    # Not by way of the neighbour above: what lies between minus one and zero rounds to minus zero.
    return f"({minus} * {floor(write, f'({minus} * {x})', width)})"


ROUNDING = {"round": nearest, "floor": floor, "ceil": ceil}
