"""Functions of float32 as arithmetic that has vector instructions: scalars and whole vectors alike.

A call into libm costs 3 ns an element and stops vectorisation; these cost a tenth. Each takes the assembler,
its operand and how many lanes that has.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from millstream_runtime import polynomials
from millstream_runtime.kernels.assembler import Assembler, Value


class _Number:
    """A value with arithmetic. What is used more than once is `named` first, lest it be written twice."""

    def __init__(self, write: Assembler, value: Value, width: int, dtype: str = "float32") -> None:
        self.write, self.value, self.width, self.dtype = write, value, width, dtype

    def named(self) -> _Number:
        return self._made(self.write.bind(self.value, self.dtype, self.width))

    def __add__(self, other: _Number | float) -> _Number:
        return self._call("add", other)

    def __sub__(self, other: _Number | float) -> _Number:
        return self._call("subtract", other)

    def __mul__(self, other: _Number | float) -> _Number:
        return self._call("multiply", other)

    def __truediv__(self, other: _Number) -> _Number:
        return self._call("divide", other)

    def __rsub__(self, other: float) -> _Number:
        return self.like(other) - self

    def __neg__(self) -> _Number:
        return self._made(self.write.call("negative", self.dtype, self.dtype, [self.value], self.width))

    def __abs__(self) -> _Number:
        return self._made(self.write.call("absolute", self.dtype, self.dtype, [self.value], self.width))

    def like(self, value: float) -> _Number:
        """A constant."""
        return self._made(self.write.number(value, self.dtype, self.width))

    def where(self, comparison: str, other: _Number | float, then: _Number, otherwise: _Number) -> _Number:
        """`then` where the comparison with `other` holds, else `otherwise`. Conditions have no name: TVM
        cannot analyse a vector of bools that has one."""
        condition = self.write.call(comparison, self.dtype, "bool", [self.value, self._of(other)], self.width)
        return then._made(self._select(condition, then, otherwise))

    def between(self, low: float, high: float) -> _Number:
        lowest, highest = (self.write.number(limit, self.dtype, self.width) for limit in (low, high))
        return self._made(self.write.between(self.value, lowest, highest, self.width))

    def rounded(self) -> _Number:
        return self._made(self.write.call("round", self.dtype, self.dtype, [self.value], self.width))

    def times_power_of_two(self, exponent: _Number) -> _Number:
        return self._made(self.write.scaled(self.value, exponent.value, self.width))

    def bits(self) -> _Number:
        return self._made(self.write.bits(self.value, self.width), "int32")

    def from_bits(self) -> _Number:
        return self._made(self.write.from_bits(self.value, self.width), "float32")

    def shifted(self, left: int) -> _Number:
        return self._made(self.write.shifted(self.value, left, self.width))

    def masked(self, operation: str, mask: int) -> _Number:
        return self._call(operation, mask)

    def as_float(self) -> _Number:
        value = self.write.call("cast", self.dtype, "float32", [self.value], self.width)
        return self._made(value, "float32")

    def _select(self, condition: Value, then: _Number, otherwise: _Number) -> Value:
        values = [condition, then.value, otherwise.value]
        return self.write.call("select", then.dtype, then.dtype, values, self.width)

    def _call(self, operation: str, other: _Number | float) -> _Number:
        values = [self.value, self._of(other)]
        return self._made(self.write.call(operation, self.dtype, self.dtype, values, self.width))

    def _of(self, other: _Number | float) -> Value:
        if isinstance(other, _Number):
            return other.value
        return self.write.number(other, self.dtype, self.width)

    def _made(self, value: Value, dtype: str = "") -> _Number:
        return _Number(self.write, value, self.width, dtype or self.dtype)


def _exp(x: _Number) -> _Number:
    """2^n exp(r) with n whole and |r| <= ln(2) / 2."""
    bounded = x.between(polynomials.EXP_LOWEST, polynomials.EXP_HIGHEST).named()
    n = (bounded * polynomials.LOG2_E).rounded().named()
    r = (bounded - n * polynomials.LN2_HIGH - n * polynomials.LN2_LOW).named()
    fraction = (_horner(polynomials.EXP, r) * r * r + r + 1.0).named()
    return fraction.times_power_of_two(n)


def _log(x: _Number) -> _Number:
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


def _log1p(x: _Number) -> _Number:
    """log(u) x / (u - 1) with u = 1 + x: the rounding of u cancels (W. Kahan)."""
    u = (x + 1.0).named()
    d = (u - 1.0).named()
    log = _log(u).named()
    # Where u is exact, or infinite, the logarithm needs no correction.
    large = d.where("equal", x, log, log * (x / d))
    return d.where("equal", 0.0, x, large)


def _sigmoid(x: _Number) -> _Number:
    """1 / (1 + exp(-x)) without overflow for large |x|."""
    small = _exp((-abs(x)).named()).named()
    return x.where("greater_equal", 0.0, x.like(1.0), small) / (small + 1.0)


def _tanh(x: _Number) -> _Number:
    """A polynomial near zero, 1 - 2 / (exp(2 |x|) + 1) elsewhere."""
    s = (x * x).named()
    near = _horner(polynomials.TANH, s) * s * x + x
    far = (1.0 - x.like(2.0) / (_exp((abs(x) * 2.0).named()) + 1.0)).named()
    return _by_magnitude(x, polynomials.TANH_NEAR, near, far)


def _erf(x: _Number) -> _Number:
    """A polynomial near zero, Abramowitz and Stegun 7.1.26 elsewhere."""
    s = (x * x).named()
    near = _horner(polynomials.ERF, s) * x
    t = (x.like(1.0) / (abs(x) * polynomials.ERF_P + 1.0)).named()
    far = (1.0 - _horner(polynomials.ERF_TAIL, t) * t * _exp((-s).named())).named()
    return _by_magnitude(x, polynomials.ERF_NEAR, near, far)


def _by_magnitude(x: _Number, bound: float, near: _Number, far: _Number) -> _Number:
    """`near` for |x| below the bound, else `far` with the sign of x."""
    return abs(x).where("less", bound, near, x.where("less", 0.0, -far, far))


def _horner(coefficients: tuple[float, ...], x: _Number) -> _Number:
    total = x.like(coefficients[0])
    for coefficient in coefficients[1:]:
        total = total * x + coefficient
    return total


def _of_values(function: Callable[[_Number], _Number]) -> Callable[[Assembler, Value, int], Value]:
    return lambda write, x, width: function(_Number(write, x, width).named()).named().value


#: By operation: what writes its value for an operand of so many lanes.
APPROXIMATIONS: dict[str, Callable[[Assembler, Value, int], Value]] = {
    "exp": _of_values(_exp),
    "log": _of_values(_log),
    "log1p": _of_values(_log1p),
    "sigmoid": _of_values(_sigmoid),
    "tanh": _of_values(_tanh),
    "erf": _of_values(_erf),
}
