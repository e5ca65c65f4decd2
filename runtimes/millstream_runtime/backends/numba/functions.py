"""The scalar functions that printed loops call.

The float32 functions are branch-free, so that LLVM makes vectors of them; their polynomials are those of
Cephes (S. Moshier, netlib.org/cephes, single precision), good to about two units in the last place.
Importing this module imports numba: do so only once a plan is opened.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from millstream_runtime.backends.numba.intrinsics import power_of_two

_f = np.float32
_ZERO, _HALF, _ONE, _TWO = _f(0), _f(0.5), _f(1), _f(2)
_LOG2_E = _f(1.4426950408889634)
# ln 2 in two parts, so that n * ln 2 is exact enough for every exponent n.
_LN2_HIGH, _LN2_LOW = _f(0.693359375), _f(-2.12194440e-4)
# exp is 0 below and infinite above; both ends leave room for the two halves of the exponent.
_EXP_LOWEST, _EXP_HIGHEST = _f(-110), _f(100)
_E0, _E1, _E2 = _f(1.9875691500e-4), _f(1.3981999507e-3), _f(8.3334519073e-3)
_E3, _E4, _E5 = _f(4.1665795894e-2), _f(1.6666665459e-1), _f(5.0000001201e-1)
_TANH_SMALL = _f(0.625)
_T0, _T1, _T2 = _f(-5.70498872745e-3), _f(2.06390887954e-2), _f(-5.37397155531e-2)
_T3, _T4 = _f(1.33314422036e-1), _f(-3.33332819422e-1)
_R0, _R1, _R2 = _f(7.853861353153693e-5), _f(-8.010193625184903e-4), _f(5.188327685732524e-3)
_R3, _R4, _R5 = _f(-2.685381193529856e-2), _f(1.128358514861418e-1), _f(-3.761262582423300e-1)
_R6 = _f(1.128379165726710)
# Abramowitz and Stegun 7.1.26: erf(x) = 1 - t (a1 + t (a2 + ...)) exp(-x^2), t = 1 / (1 + p x), to 1.5e-7.
_P = _f(0.3275911)
_A1, _A2, _A3 = _f(0.254829592), _f(-0.284496736), _f(1.421413741)
_A4, _A5 = _f(-1.453152027), _f(1.061405429)


@njit
def clamp(index, last):
    """A looked-up index, held between 0 and `last`."""
    return max(0, min(index, last))


@njit
def maximum(x, y):
    """The larger; NaN when either is NaN."""
    return x if x > y or x != x else y


@njit
def minimum(x, y):
    """The smaller; NaN when either is NaN."""
    return x if x < y or x != x else y


@njit
def is_nan(x):
    return x != x


@njit
def sign_of_float(x, one):
    """-1, 0 or 1; NaN stays NaN. `one` is 1 in the dtype of x."""
    return one if x > 0 else (-one if x < 0 else x)


@njit
def sign_of_integer(x):
    """-1, 0 or 1 as int64."""
    return np.int64(x > 0) - np.int64(x < 0)


@njit
def floor_mod_floats(x, y):
    """Remainder with the sign of the divisor."""
    remainder = math.fmod(x, y)
    return remainder + y if remainder != 0 and (remainder < 0) != (y < 0) else remainder


@njit(error_model="numpy")
def sigmoid(x, one):
    """1 / (1 + exp(-x)) without overflow for large |x|. `one` is 1 in the dtype of x."""
    small = math.exp(-abs(x))
    return (one if x >= 0 else small) / (one + small)


@njit
def exp_float32(x):
    """exp(x) = 2^n exp(r) with n whole and |r| <= ln(2) / 2."""
    bounded = min(max(x, _EXP_LOWEST), _EXP_HIGHEST) if x == x else _ZERO
    n = np.rint(bounded * _LOG2_E)
    r = bounded - n * _LN2_HIGH - n * _LN2_LOW
    p = ((((_E0 * r + _E1) * r + _E2) * r + _E3) * r + _E4) * r + _E5
    fraction = p * r * r + r + _ONE
    # Two factors, because 2^n alone may be beyond float32 where the product is not.
    half = np.int32(np.int32(n) >> 1)
    power = fraction * power_of_two(half) * power_of_two(np.int32(np.int32(n) - half))
    return power if x == x else x


@njit(error_model="numpy")
def sigmoid_float32(x):
    """1 / (1 + exp(-x)) without overflow for large |x|."""
    small = exp_float32(-abs(x))
    return (_ONE if x >= _ZERO else small) / (_ONE + small)


@njit(error_model="numpy")
def tanh_float32(x):
    """A polynomial near zero, 1 - 2 / (exp(2 |x|) + 1) elsewhere."""
    s = x * x
    near = ((((_T0 * s + _T1) * s + _T2) * s + _T3) * s + _T4) * s * x + x
    far = _ONE - _TWO / (exp_float32(_TWO * abs(x)) + _ONE)
    return near if abs(x) < _TANH_SMALL else math.copysign(far, x)


@njit(error_model="numpy")
def erf_float32(x):
    """A polynomial near zero, Abramowitz and Stegun 7.1.26 elsewhere."""
    s = x * x
    near = ((((((_R0 * s + _R1) * s + _R2) * s + _R3) * s + _R4) * s + _R5) * s + _R6) * x
    t = _ONE / (_ONE + _P * abs(x))
    tail = ((((_A5 * t + _A4) * t + _A3) * t + _A2) * t + _A1) * t
    far = _ONE - tail * exp_float32(-s)
    return near if abs(x) < _ONE else math.copysign(far, x)
