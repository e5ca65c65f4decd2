"""The coefficients of the float32 approximations, shared by every printer. Highest power first.

exp, log, tanh and erf near zero are those of Cephes (S. Moshier, netlib.org/cephes, single precision), good
to about two units in the last place.
"""

from __future__ import annotations

LOG2_E = 1.4426950408889634

#: ln 2 in two parts, so that n * ln 2 is exact enough for every exponent n of a float32.
LN2_HIGH, LN2_LOW = 0.693359375, -2.12194440e-4

#: exp is 0 below and infinite above; both ends leave room for the two halves of the exponent.
EXP_LOWEST, EXP_HIGHEST = -110.0, 100.0

#: exp(r) = 1 + r + r^2 P(r) for |r| <= ln(2) / 2.
EXP = (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1)

#: log(1 + m) = m - m^2 / 2 + m^3 P(m) for sqrt(1/2) <= 1 + m < sqrt(2).
SQRT_HALF = 0.70710678118654752
LOG = (
    7.0376836292e-2,
    -1.1514610310e-1,
    1.1676998740e-1,
    -1.2420140846e-1,
    1.4249322787e-1,
    -1.6668057665e-1,
    2.0000714765e-1,
    -2.4999993993e-1,
    3.3333331174e-1,
)

#: The smallest float32 whose logarithm needs no scaling first, and the scale.
SMALLEST_NORMAL, DENORMAL_SCALE, DENORMAL_EXPONENT = 1.1754943508222875e-38, 8388608.0, 23

#: tanh(x) = x + x^3 P(x^2) for |x| < TANH_NEAR.
TANH_NEAR = 0.625
TANH = (-5.70498872745e-3, 2.06390887954e-2, -5.37397155531e-2, 1.33314422036e-1, -3.33332819422e-1)

#: erf(x) = x P(x^2) for |x| < ERF_NEAR.
ERF_NEAR = 1.0
ERF = (
    7.853861353153693e-5,
    -8.010193625184903e-4,
    5.188327685732524e-3,
    -2.685381193529856e-2,
    1.128358514861418e-1,
    -3.761262582423300e-1,
    1.128379165726710,
)

#: erf(x) = 1 - t P(t) exp(-x^2) with t = 1 / (1 + ERF_P x), to 1.5e-7: Abramowitz and Stegun 7.1.26.
ERF_P = 0.3275911
ERF_TAIL = (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592)
