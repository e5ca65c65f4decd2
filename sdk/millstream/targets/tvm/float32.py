"""Functions of float32 as arithmetic that has vector instructions: scalars and whole vectors alike.

A call into libm costs 3 ns an element and stops vectorisation; these cost a tenth. Each takes the formulas
it is part of and the name of its operand, and gives the text of its result.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

from millstream_runtime import polynomials


class _Formulas(Protocol):
    """What the functions need of `formulas.Formulas`, which is made of them."""

    def bind(self, text: str, dtype: str = "float32") -> str: ...
    def number(self, value: float | int, dtype: str = "float32") -> str: ...
    def dtype(self, name: str) -> str: ...


def _exp(f: _Formulas, x: str) -> str:
    """2^n exp(r) with n whole and |r| <= ln(2) / 2."""
    low, high = f.number(polynomials.EXP_LOWEST), f.number(polynomials.EXP_HIGHEST)
    # T.max drops NaN, which no integer can hold; the last line brings it back.
    bounded = f.bind(f"T.min(T.max({x}, {low}), {high})")
    n = f.bind(f"T.nearbyint({bounded} * {f.number(polynomials.LOG2_E)})")
    rest = f.bind(f"{bounded} - {n} * {f.number(polynomials.LN2_HIGH)}")
    r = f.bind(f"{rest} - {n} * {f.number(polynomials.LN2_LOW)}")
    fraction = f.bind(f"{_horner(f, polynomials.EXP, r)} * {r} * {r} + {r} + {f.number(1)}")
    whole = f.bind(f"T.Cast('{f.dtype('int32')}', {n})", "int32")
    # Two factors, because 2^n alone may be beyond float32 where the product is not.
    half = f.bind(f"T.shift_right({whole}, {f.number(1, 'int32')})", "int32")
    first, second = _power_of_two(f, half), _power_of_two(f, f"({whole} - {half})")
    return f.bind(f"T.Select(T.isnan({x}), {x}, {fraction} * {first} * {second})")


def _log(f: _Formulas, x: str) -> str:
    """n ln 2 + log(1 + m) with n whole and 1 + m between sqrt(1/2) and sqrt(2)."""
    # Comparisons stay unnamed: TVM cannot analyse a vector of bools that has a name.
    tiny = f"{x} < {f.number(polynomials.SMALLEST_NORMAL)}"
    scaled = f.bind(f"T.Select({tiny}, {x} * {f.number(polynomials.DENORMAL_SCALE)}, {x})")
    bits = f.bind(f"T.reinterpret('{f.dtype('int32')}', {scaled})", "int32")
    digits = f"T.bitwise_and({bits}, {f.number(0x007FFFFF, 'int32')})"
    between = f"T.bitwise_or({digits}, {f.number(0x3F000000, 'int32')})"  # a half and one
    half = f.bind(f"T.reinterpret('{f.dtype('float32')}', {between})")
    low = f"{half} < {f.number(polynomials.SQRT_HALF)}"
    m = f.bind(f"T.Select({low}, {half} + {half}, {half}) - {f.number(1)}")
    exponent = f"T.Cast('{f.dtype('float32')}', T.shift_right({bits}, {f.number(23, 'int32')}))"
    bias = f"T.Select({tiny}, {f.number(126 + polynomials.DENORMAL_EXPONENT)}, {f.number(126)})"
    n = f.bind(f"{exponent} - {bias} - T.Select({low}, {f.number(1)}, {f.number(0)})")
    s = f.bind(f"{m} * {m}")
    small = f"{_horner(f, polynomials.LOG, m)} * {m} * {s} + {n} * {f.number(polynomials.LN2_LOW)}"
    tail = f.bind(f"{small} - {f.number(0.5)} * {s}")
    value = f.bind(f"{m} + {tail} + {n} * {f.number(polynomials.LN2_HIGH)}")
    # Infinity and NaN stay, zero gives -infinity, and what is below has no logarithm.
    beyond = f.bind(f"T.Select({x} < {f.number(math.inf)}, {value}, {x})")
    negative = f"T.Select({x} < {f.number(0)}, {f.number(math.nan)}, {beyond})"
    return f.bind(f"T.Select({x} == {f.number(0)}, {f.number(-math.inf)}, {negative})")


def _log1p(f: _Formulas, x: str) -> str:
    """log(u) x / (u - 1) with u = 1 + x: the rounding of u cancels (W. Kahan)."""
    u = f.bind(f"{f.number(1)} + {x}")
    d = f.bind(f"{u} - {f.number(1)}")
    log = _log(f, u)
    # Where u is exact, or infinite, the logarithm needs no correction.
    large = f"T.Select({d} == {x}, {log}, {log} * T.Div({x}, {d}))"
    return f"T.Select({d} == {f.number(0)}, {x}, {large})"


def _sigmoid(f: _Formulas, x: str) -> str:
    """1 / (1 + exp(-x)) without overflow for large |x|."""
    small = _exp(f, f.bind(f"{f.number(-1)} * T.abs({x})"))
    return f"T.Div(T.Select({x} >= {f.number(0)}, {f.number(1)}, {small}), {f.number(1)} + {small})"


def _tanh(f: _Formulas, x: str) -> str:
    """A polynomial near zero, 1 - 2 / (exp(2 |x|) + 1) elsewhere."""
    s = f.bind(f"{x} * {x}")
    near = f"{_horner(f, polynomials.TANH, s)} * {s} * {x} + {x}"
    grown = _exp(f, f.bind(f"{f.number(2)} * T.abs({x})"))
    far = f.bind(f"{f.number(1)} - T.Div({f.number(2)}, {grown} + {f.number(1)})")
    return _by_magnitude(f, x, polynomials.TANH_NEAR, near, far)


def _erf(f: _Formulas, x: str) -> str:
    """A polynomial near zero, Abramowitz and Stegun 7.1.26 elsewhere."""
    s = f.bind(f"{x} * {x}")
    near = f"{_horner(f, polynomials.ERF, s)} * {x}"
    t = f.bind(f"T.Div({f.number(1)}, {f.number(1)} + {f.number(polynomials.ERF_P)} * T.abs({x}))")
    shrunk = _exp(f, f.bind(f"{f.number(-1)} * {s}"))
    far = f.bind(f"{f.number(1)} - {_horner(f, polynomials.ERF_TAIL, t)} * {t} * {shrunk}")
    return _by_magnitude(f, x, polynomials.ERF_NEAR, near, far)


APPROXIMATIONS: dict[str, Callable[[_Formulas, str], str]] = {
    "exp": _exp,
    "log": _log,
    "log1p": _log1p,
    "sigmoid": _sigmoid,
    "tanh": _tanh,
    "erf": _erf,
}


def _by_magnitude(f: _Formulas, x: str, bound: float, near: str, far: str) -> str:
    """`near` for |x| below `bound`, else `far` with the sign of x."""
    signed = f"T.Select({x} < {f.number(0)}, {f.number(-1)} * {far}, {far})"
    return f"T.Select(T.abs({x}) < {f.number(bound)}, {near}, {signed})"


def _horner(f: _Formulas, coefficients: tuple[float, ...], x: str) -> str:
    text = f.number(coefficients[0])
    for coefficient in coefficients[1:]:
        text = f"({text} * {x} + {f.number(coefficient)})"
    return text


def _power_of_two(f: _Formulas, exponent: str) -> str:
    """2^exponent as float32, shifted into the exponent's bits."""
    bits = f"T.shift_left({exponent} + {f.number(127, 'int32')}, {f.number(23, 'int32')})"
    return f"T.reinterpret('{f.dtype('float32')}', {bits})"
