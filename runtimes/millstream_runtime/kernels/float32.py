"""Functions of float32 as arithmetic that has vector instructions: scalars and whole vectors alike.

A call into libm costs 3 ns an element and stops vectorisation; these cost a tenth. Each takes the assembler,
its operand and how many lanes that has.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from millstream_runtime import polynomials
from millstream_runtime.kernels.assembler import Assembler, Value
from millstream_runtime.kernels.number import Number


def _exp(x: Number) -> Number:
    """2^n exp(r) with n whole and |r| <= ln(2) / 2."""
    bounded = x.between(polynomials.EXP_LOWEST, polynomials.EXP_HIGHEST).named()
    n = (bounded * polynomials.LOG2_E).rounded().named()
    r = (bounded - n * polynomials.LN2_HIGH - n * polynomials.LN2_LOW).named()
    fraction = (_horner(polynomials.EXP, r) * r * r + r + 1.0).named()
    return fraction.times_power_of_two(n)


def _log(x: Number) -> Number:
    """n ln 2 + log(1 + m) with n whole and 1 + m between sqrt(1/2) and sqrt(2)."""
    tiny = ("less", polynomials.SMALLEST_NORMAL)
    bits = x.where(*tiny, x * polynomials.DENORMAL_SCALE, x).bits().named()
    half = (
        bits.masked("bit_and", 0x007FFFFF).masked("bit_or", 0x3F000000).from_bits().named()
    )  # a half to one
    low = ("less", polynomials.SQRT_HALF)
    m = (half.where(*low, half + half, half) - 1.0).named()
    bias = x.where(*tiny, x.like(126.0 + polynomials.DENORMAL_EXPONENT), x.like(126.0))
    n = (bits.shifted(-23).as_float() - bias - half.where(*low, x.like(1.0), x.like(0.0))).named()
    s = (m * m).named()
    tail = _horner(polynomials.LOG, m) * m * s + n * polynomials.LN2_LOW - s * 0.5
    value = m + tail + n * polynomials.LN2_HIGH
    # Infinity and NaN stay, zero gives -infinity, and what is below has no logarithm.
    beyond = x.where("less", math.inf, value, x)
    negative = x.where("less", 0.0, x.like(math.nan), beyond)
    return x.where("equal", 0.0, x.like(-math.inf), negative)


def _log1p(x: Number) -> Number:
    """log(u) x / (u - 1) with u = 1 + x: the rounding of u cancels (W. Kahan)."""
    u = (x + 1.0).named()
    d = (u - 1.0).named()
    log = _log(u).named()
    # Where u is exact, or infinite, the logarithm needs no correction.
    large = d.where("equal", x, log, log * (x / d))
    return d.where("equal", 0.0, x, large)


def _sigmoid(x: Number) -> Number:
    """1 / (1 + exp(-x)) without overflow for large |x|."""
    small = _exp((-abs(x)).named()).named()
    return x.where("greater_equal", 0.0, x.like(1.0), small) / (small + 1.0)


def _tanh(x: Number) -> Number:
    """A polynomial near zero, 1 - 2 / (exp(2 |x|) + 1) elsewhere."""
    s = (x * x).named()
    near = _horner(polynomials.TANH, s) * s * x + x
    far = (1.0 - x.like(2.0) / (_exp((abs(x) * 2.0).named()) + 1.0)).named()
    return _by_magnitude(x, polynomials.TANH_NEAR, near, far)


def _erf(x: Number) -> Number:
    """A polynomial near zero, Abramowitz and Stegun 7.1.26 elsewhere."""
    s = (x * x).named()
    near = _horner(polynomials.ERF, s) * x
    t = (x.like(1.0) / (abs(x) * polynomials.ERF_P + 1.0)).named()
    far = (1.0 - _horner(polynomials.ERF_TAIL, t) * t * _exp((-s).named())).named()
    return _by_magnitude(x, polynomials.ERF_NEAR, near, far)


def _by_magnitude(x: Number, bound: float, near: Number, far: Number) -> Number:
    """`near` for |x| below the bound, else `far` with the sign of x."""
    return abs(x).where("less", bound, near, x.where("less", 0.0, -far, far))


def _horner(coefficients: tuple[float, ...], x: Number) -> Number:
    total = x.like(coefficients[0])
    for coefficient in coefficients[1:]:
        total = total * x + coefficient
    return total


def _of_values(function: Callable[[Number], Number]) -> Callable[[Assembler, Value, int], Value]:
    return lambda write, x, width: function(Number(write, x, width).named()).named().value


#: By operation: what writes its value for an operand of so many lanes.
APPROXIMATIONS: dict[str, Callable[[Assembler, Value, int], Value]] = {
    "exp": _of_values(_exp),
    "log": _of_values(_log),
    "log1p": _of_values(_log1p),
    "sigmoid": _of_values(_sigmoid),
    "tanh": _of_values(_tanh),
    "erf": _of_values(_erf),
}
