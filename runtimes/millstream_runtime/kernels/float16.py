"""Casts between float16 and float32 as arithmetic on their bits: many CPUs have no instruction for them, and
LLVM calls a library then. In memory and in a kernel a float16 is the uint16 of its bits.
"""

from __future__ import annotations

from millstream_runtime.kernels.assembler import Assembler, Value
from millstream_runtime.kernels.number import Number

_I, _SIGN, _REST = "int32", 0x8000, 0x7FFF
#: Bits of the significand of a float32 that a float16 has not.
_MORE = 13
#: What the exponent of a float32 counts more, in its place.
_BIAS = (127 - 15) << 23
#: The smallest normal float16, and infinity.
_NORMAL, _INFINITY, _NAN = 0x0400, 0x7C00, 0x7E00
#: As float32: the smallest normal float16, twice the largest power of two, infinity, and a half.
_NORMAL_BITS, _BEYOND_BITS, _INFINITY_BITS, _HALF_BITS = 0x38800000, 0x47800000, 0x7F800000, 0x3F000000


def cast(write: Assembler, operand: str, value: Value, width: int) -> Value:
    """A float16 as float32, or the other way round."""
    return (_widened if operand == "float16" else _rounded)(write, value, width)


def _widened(write: Assembler, half: Value, width: int) -> Value:
    """The float32 that equals a float16."""
    word = Number(write, write.call("cast", "uint16", _I, [half], width), width, _I).named()
    magnitude = word.masked("bit_and", _REST).named()
    normal = (magnitude.shifted(_MORE) + _BIAS).named()
    # Below the normal numbers it counts steps of 2^-24. No float32 below its own is met: some CPUs lose them.
    small = (magnitude.as_float() * 2.0**-24).bits()
    large = magnitude.where("less", _INFINITY, normal, normal + _BIAS)
    found = magnitude.where("less", _NORMAL, small, large)
    return found.masked("bit_or", word.masked("bit_and", _SIGN).shifted(16)).from_bits().value


def _rounded(write: Assembler, x: Value, width: int) -> Value:
    """The float16 next to a float32, of two the even one."""
    bits = Number(write, write.bits(x, width), width, _I).named()
    magnitude = bits.masked("bit_and", 0x7FFFFFFF).named()
    odd = magnitude.shifted(-_MORE).masked("bit_and", 1)
    # Half a step less one, and one more where that makes a tie even; beyond the largest it is infinity.
    normal = (magnitude + ((1 << (_MORE - 1)) - 1 - _BIAS) + odd).shifted(-_MORE)
    # From a half on neighbours are 2^-24 apart, as float16 below its normal numbers are.
    small = (magnitude.from_bits() + 0.5).bits() - _HALF_BITS
    beyond = magnitude.where("greater", _INFINITY_BITS, bits.like(_NAN), bits.like(_INFINITY))
    held = magnitude.where("less", _BEYOND_BITS, normal, beyond)
    found = magnitude.where("less", _NORMAL_BITS, small, held)
    word = found.masked("bit_or", bits.shifted(-16).masked("bit_and", _SIGN))
    return write.call("cast", _I, "uint16", [word.value], width)
