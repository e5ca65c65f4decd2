"""Activation functions, element by element."""

from __future__ import annotations

import math
from collections.abc import Callable

from millstream.lower.builder import Builder, Node
from millstream.lower.expression import add, call, clamp, divide, like, multiply, select, subtract
from millstream.lower.operators.elementwise import Formula, Translator, broadcast, by_formula, plain
from millstream.lower.view import View
from millstream_runtime.program import Expression


def _with(**defaults: float) -> Callable[[Formula], Translator]:
    """The translator of a one-operand operator whose formula takes these attributes."""

    def decorate(formula: Formula) -> Translator:
        def translate(builder: Builder, node: Node) -> View:
            values = {name: node.attributes.get(name, default) for name, default in defaults.items()}
            return broadcast(builder, [node.view(0)], lambda x: formula(x, **values))

        return translate

    return decorate


def relu(x: Expression) -> Expression:
    return call("maximum", x, like(0, x))


def _softplus(x: Expression) -> Expression:
    """max(x, 0) + log1p(exp(-|x|)): exact in value, and never overflows."""
    tail = call("log1p", call("exp", call("negative", call("absolute", x))))
    return add(relu(x), tail)


def _softsign(x: Expression) -> Expression:
    return divide(x, add(like(1, x), call("absolute", x)))


def _mish(x: Expression) -> Expression:
    return multiply(x, call("tanh", _softplus(x)))


@_with(alpha=0.01)
def _leaky_relu(x: Expression, alpha: float) -> Expression:
    return select(call("less", x, like(0, x)), multiply(like(alpha, x), x), x)


def _expm1_scaled(x: Expression, scale: float) -> Expression:
    return multiply(like(scale, x), subtract(call("exp", x), like(1, x)))


@_with(alpha=1.0)
def _elu(x: Expression, alpha: float) -> Expression:
    return select(call("less", x, like(0, x)), _expm1_scaled(x, alpha), x)


@_with(alpha=1.0)
def _celu(x: Expression, alpha: float) -> Expression:
    scaled = divide(x, like(alpha, x))
    return select(call("less", x, like(0, x)), _expm1_scaled(scaled, alpha), x)


@_with(alpha=1.67326319217681884765625, gamma=1.05070102214813232421875)
def _selu(x: Expression, alpha: float, gamma: float) -> Expression:
    inner = select(call("less_equal", x, like(0, x)), _expm1_scaled(x, alpha), x)
    return multiply(like(gamma, x), inner)


@_with(alpha=1.0)
def _thresholded_relu(x: Expression, alpha: float) -> Expression:
    return select(call("greater", x, like(alpha, x)), x, like(0, x))


@_with(alpha=0.2, beta=0.5)
def _hard_sigmoid(x: Expression, alpha: float, beta: float) -> Expression:
    return clamp(add(multiply(like(alpha, x), x), like(beta, x)), 0, 1)


def _hard_swish(x: Expression) -> Expression:
    return multiply(x, clamp(add(multiply(like(1 / 6, x), x), like(0.5, x)), 0, 1))


@_with(lambd=0.5, bias=0.0)
def _shrink(x: Expression, lambd: float, bias: float) -> Expression:
    above = select(call("greater", x, like(lambd, x)), subtract(x, like(bias, x)), like(0, x))
    return select(call("less", x, like(-lambd, x)), add(x, like(bias, x)), above)


def _gelu(builder: Builder, node: Node) -> View:
    exact = node.attributes.get("approximate", b"none") == b"none"
    return broadcast(builder, [node.view(0)], _gelu_by_erf if exact else _gelu_by_tanh)


def _gelu_by_erf(x: Expression) -> Expression:
    return multiply(
        multiply(like(0.5, x), x), add(like(1, x), call("erf", multiply(x, like(math.sqrt(0.5), x))))
    )


def _gelu_by_tanh(x: Expression) -> Expression:
    cubic = add(x, multiply(like(0.044715, x), multiply(x, multiply(x, x))))
    inner = call("tanh", multiply(like(math.sqrt(2 / math.pi), x), cubic))
    return multiply(multiply(like(0.5, x), x), add(like(1, x), inner))


def _prelu(x: Expression, slope: Expression) -> Expression:
    return select(call("less", x, like(0, x)), multiply(slope, x), x)


OPERATORS: dict[str, Translator] = {
    "Sigmoid": plain("sigmoid"),
    "Relu": by_formula(relu),
    "Softplus": by_formula(_softplus),
    "Softsign": by_formula(_softsign),
    "Mish": by_formula(_mish),
    "HardSwish": by_formula(_hard_swish),
    "PRelu": by_formula(_prelu),
    "LeakyRelu": _leaky_relu,
    "Elu": _elu,
    "Celu": _celu,
    "Selu": _selu,
    "ThresholdedRelu": _thresholded_relu,
    "HardSigmoid": _hard_sigmoid,
    "Shrink": _shrink,
    "Gelu": _gelu,
}
