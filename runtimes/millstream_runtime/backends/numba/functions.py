"""The scalar functions that printed loops call.

The float32 functions are branch-free, so that LLVM makes vectors of them.
Importing this module imports numba: do so only once a plan is opened.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from millstream_runtime import polynomials
from millstream_runtime.backends.numba import intrinsics

#: An intrinsic is called with its operand alone; its other parameter is the typing context.
_power_of_two: Any = intrinsics.power_of_two
_bits_of: Any = intrinsics.bits_of
_float_of: Any = intrinsics.float_of
_f = np.float32
# Numba would take a Python float for a float64, and the arithmetic with it.
_ZERO, _ONE, _TWO = _f(0), _f(1), _f(2)
_LOG2_E, _LN2_HIGH, _LN2_LOW = _f(polynomials.LOG2_E), _f(polynomials.LN2_HIGH), _f(polynomials.LN2_LOW)
_LOWEST, _HIGHEST = _f(polynomials.EXP_LOWEST), _f(polynomials.EXP_HIGHEST)
_TANH_NEAR, _ERF_NEAR, _ERF_P = _f(polynomials.TANH_NEAR), _f(polynomials.ERF_NEAR), _f(polynomials.ERF_P)
_SQRT_HALF, _HALF, _INFINITY, _NAN = _f(polynomials.SQRT_HALF), _f(0.5), _f(math.inf), _f(math.nan)
_SMALLEST_NORMAL, _DENORMAL_SCALE = _f(polynomials.SMALLEST_NORMAL), _f(polynomials.DENORMAL_SCALE)
_BIAS, _DENORMAL_BIAS = _f(126), _f(126 + polynomials.DENORMAL_EXPONENT)
_EXP, _LOG, _TANH, _ERF, _ERF_TAIL = (
    tuple(_f(c) for c in coefficients)
    for coefficients in (
        polynomials.EXP,
        polynomials.LOG,
        polynomials.TANH,
        polynomials.ERF,
        polynomials.ERF_TAIL,
    )
)

#: NumPy's error model: division by zero gives infinity where Python would raise. Nobody calls the functions
#: from Python, so nothing is made for that.
OPTIONS: Any = {"error_model": "numpy", "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
# Left to itself LLVM calls the longer ones from a long step, and loops with a call do not become vectors.
_inlined: Any = njit(forceinline=True, **OPTIONS)


@_inlined
def operand(table, script, place, run):
    """The address of an operand, from its three numbers in the script."""
    return table[script[place]] + script[place + 1] + run * script[place + 2]


@_inlined
def clamp(index, last):
    """A looked-up index, held between 0 and `last`."""
    return max(0, min(index, last))


@_inlined
def maximum(x, y):
    """The larger; NaN when either is NaN."""
    return x if x > y or x != x else y


@_inlined
def minimum(x, y):
    """The smaller; NaN when either is NaN."""
    return x if x < y or x != x else y


@_inlined
def is_nan(x):
    return x != x


@_inlined
def sign_of_float(x, one):
    """-1, 0 or 1; NaN stays NaN. `one` is 1 in the dtype of x."""
    return one if x > 0 else (-one if x < 0 else x)


@_inlined
def sign_of_integer(x):
    """-1, 0 or 1 as int64."""
    return np.int64(x > 0) - np.int64(x < 0)


@_inlined
def floor_mod_floats(x, y):
    """Remainder with the sign of the divisor."""
    remainder = np.fmod(x, y)
    return remainder + y if remainder != 0 and (remainder < 0) != (y < 0) else remainder


@_inlined
def sigmoid(x, one):
    """1 / (1 + exp(-x)) without overflow for large |x|. `one` is 1 in the dtype of x."""
    small = math.exp(-abs(x))
    return (one if x >= 0 else small) / (one + small)


@_inlined
def _polynomial(coefficients, x):
    """Horner's rule, highest power first."""
    value = coefficients[0]
    for coefficient in coefficients[1:]:
        value = value * x + coefficient
    return value


@_inlined
def exp_float32(x):
    """exp(x) = 2^n exp(r) with n whole and |r| <= ln(2) / 2."""
    bounded = min(max(x, _LOWEST), _HIGHEST) if x == x else _ZERO
    n = np.rint(bounded * _LOG2_E)
    r = bounded - n * _LN2_HIGH - n * _LN2_LOW
    p = _polynomial(_EXP, r)
    fraction = p * r * r + r + _ONE
    # Two factors, because 2^n alone may be beyond float32 where the product is not.
    half = np.int32(np.int32(n) >> 1)
    power = fraction * _power_of_two(half) * _power_of_two(np.int32(np.int32(n) - half))
    return power if x == x else x


@_inlined
def log_float32(x):
    """log(x) = n ln 2 + log(1 + m) with n whole and 1 + m between sqrt(1/2) and sqrt(2)."""
    tiny = x < _SMALLEST_NORMAL
    bits = _bits_of(x * _DENORMAL_SCALE if tiny else x)
    half = _float_of(np.int32(bits & np.int32(0x007FFFFF)) | np.int32(0x3F000000))
    low = half < _SQRT_HALF
    m = (half + half if low else half) - _ONE
    n = _f(np.int32(bits >> 23)) - (_DENORMAL_BIAS if tiny else _BIAS) - (_ONE if low else _ZERO)
    s = m * m
    tail = _polynomial(_LOG, m) * m * s + n * _LN2_LOW - _HALF * s
    value = m + tail + n * _LN2_HIGH
    beyond = value if x < _INFINITY else x
    return -_INFINITY if x == _ZERO else (_NAN if x < _ZERO else beyond)


@_inlined
def log1p_float32(x):
    """log(u) x / (u - 1) with u = 1 + x: the rounding of u cancels (W. Kahan)."""
    u = _ONE + x
    d = u - _ONE
    log = log_float32(u)
    # Where u is exact, or infinite, the logarithm needs no correction.
    large = log if d == x else log * (x / d)
    return x if d == _ZERO else large


@_inlined
def sigmoid_float32(x):
    """1 / (1 + exp(-x)) without overflow for large |x|."""
    small = exp_float32(-abs(x))
    return (_ONE if x >= _ZERO else small) / (_ONE + small)


@_inlined
def tanh_float32(x):
    """A polynomial near zero, 1 - 2 / (exp(2 |x|) + 1) elsewhere."""
    s = x * x
    near = _polynomial(_TANH, s) * s * x + x
    far = _ONE - _TWO / (exp_float32(_TWO * abs(x)) + _ONE)
    return near if abs(x) < _TANH_NEAR else math.copysign(far, x)


@_inlined
def erf_float32(x):
    """A polynomial near zero, Abramowitz and Stegun 7.1.26 elsewhere."""
    s = x * x
    near = _polynomial(_ERF, s) * x
    t = _ONE / (_ONE + _ERF_P * abs(x))
    tail = _polynomial(_ERF_TAIL, t) * t
    far = _ONE - tail * exp_float32(-s)
    return near if abs(x) < _ERF_NEAR else math.copysign(far, x)
