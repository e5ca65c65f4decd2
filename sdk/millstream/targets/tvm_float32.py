"""exp, sigmoid, tanh and erf of float32 as arithmetic that LLVM makes vectors of.

A call into libm costs 3 ns an element and stops vectorisation; these cost a tenth. Each takes `bind`, which
names a text that is used more than once, and the name of its operand, and gives the text of its result.
"""

from __future__ import annotations

from collections.abc import Callable

from millstream.targets.tvm_literal import literal, logistic
from millstream_runtime import polynomials

Bind = Callable[[str], str]


def _f(value: float) -> str:
    return literal(value, "float32")


def _exp(bind: Bind, x: str) -> str:
    """2^n exp(r) with n whole and |r| <= ln(2) / 2."""
    number = bind(f"T.Select(T.isnan({x}), {_f(0)}, {x})")
    low, high = _f(polynomials.EXP_LOWEST), _f(polynomials.EXP_HIGHEST)
    bounded = bind(f"T.min(T.max({number}, {low}), {high})")
    n = bind(f"T.nearbyint({bounded} * {_f(polynomials.LOG2_E)})")
    rest = bind(f"{bounded} - {n} * {_f(polynomials.LN2_HIGH)}")
    r = bind(f"{rest} - {n} * {_f(polynomials.LN2_LOW)}")
    fraction = bind(f"{_horner(polynomials.EXP, r)} * {r} * {r} + {r} + {_f(1)}")
    whole = bind(f"T.Cast('int32', {n})")
    # Two factors, because 2^n alone may be beyond float32 where the product is not.
    half = bind(f"T.shift_right({whole}, 1)")
    first, second = _power_of_two(half), _power_of_two(f"({whole} - {half})")
    return bind(f"T.Select(T.isnan({x}), {x}, {fraction} * {first} * {second})")


def _sigmoid(bind: Bind, x: str) -> str:
    return logistic(x, _exp(bind, bind(f"{_f(-1)} * T.abs({x})")), "float32")


def _tanh(bind: Bind, x: str) -> str:
    """A polynomial near zero, 1 - 2 / (exp(2 |x|) + 1) elsewhere."""
    s = bind(f"{x} * {x}")
    near = f"{_horner(polynomials.TANH, s)} * {s} * {x} + {x}"
    grown = _exp(bind, bind(f"{_f(2)} * T.abs({x})"))
    far = bind(f"{_f(1)} - T.Div({_f(2)}, {grown} + {_f(1)})")
    return _by_magnitude(x, polynomials.TANH_NEAR, near, far)


def _erf(bind: Bind, x: str) -> str:
    """A polynomial near zero, Abramowitz and Stegun 7.1.26 elsewhere."""
    s = bind(f"{x} * {x}")
    near = f"{_horner(polynomials.ERF, s)} * {x}"
    t = bind(f"T.Div({_f(1)}, {_f(1)} + {_f(polynomials.ERF_P)} * T.abs({x}))")
    shrunk = _exp(bind, bind(f"{_f(-1)} * {s}"))
    far = bind(f"{_f(1)} - {_horner(polynomials.ERF_TAIL, t)} * {t} * {shrunk}")
    return _by_magnitude(x, polynomials.ERF_NEAR, near, far)


APPROXIMATIONS: dict[str, Callable[[Bind, str], str]] = {
    "exp": _exp,
    "sigmoid": _sigmoid,
    "tanh": _tanh,
    "erf": _erf,
}


def _by_magnitude(x: str, bound: float, near: str, far: str) -> str:
    """`near` for |x| below `bound`, else `far` with the sign of x."""
    signed = f"T.Select({x} < {_f(0)}, {_f(-1)} * {far}, {far})"
    return f"T.Select(T.abs({x}) < {_f(bound)}, {near}, {signed})"


def _horner(coefficients: tuple[float, ...], x: str) -> str:
    text = _f(coefficients[0])
    for coefficient in coefficients[1:]:
        text = f"({text} * {x} + {_f(coefficient)})"
    return text


def _power_of_two(exponent: str) -> str:
    """2^exponent as float32, shifted into the exponent's bits."""
    return f"T.reinterpret('float32', T.shift_left({exponent} + 127, 23))"
