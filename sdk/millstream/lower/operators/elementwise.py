"""Operators whose every output element depends on the elements at the same place."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import onnx.helper

from millstream.lower.builder import Builder, Node
from millstream.lower.expression import (
    add,
    call,
    cast,
    clamp,
    constant,
    divide,
    like,
    multiply,
    select,
    subtract,
)
from millstream.lower.view import View
from millstream_runtime.program import Expression

Formula = Callable[..., Expression]


def broadcast(builder: Builder, views: list[View], formula: Formula) -> View:
    """Apply a formula element by element, operands broadcast against each other."""
    shape = np.broadcast_shapes(*(view.shape for view in views))
    return builder.map(shape, formula(*(builder.read(view.expand(shape)) for view in views)))


def _plain(operation: str) -> Formula:
    return lambda *operands: call(operation, *operands)


def _formula(formula: Formula) -> Callable[[Builder, Node], View]:
    """The translator of an operator without attributes."""
    return lambda builder, node: broadcast(builder, [node.view(i) for i in range(len(node.inputs))], formula)


def _with(**defaults: float) -> Callable[[Callable[..., Expression]], Callable[[Builder, Node], View]]:
    """The translator of a one-operand operator whose formula takes these attributes."""

    def decorate(formula: Callable[..., Expression]) -> Callable[[Builder, Node], View]:
        def translate(builder: Builder, node: Node) -> View:
            values = {name: node.attributes.get(name, default) for name, default in defaults.items()}
            return broadcast(builder, [node.view(0)], lambda x: formula(x, **values))

        return translate

    return decorate


def _relu(x: Expression) -> Expression:
    return call("maximum", x, like(0, x))


def _softplus(x: Expression) -> Expression:
    """max(x, 0) + log1p(exp(-|x|)): exact in value, and never overflows."""
    tail = call("log1p", call("exp", call("negative", call("absolute", x))))
    return add(_relu(x), tail)


def _reciprocal(x: Expression) -> Expression:
    return divide(like(1, x), x)


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


def _clip(builder: Builder, node: Node) -> View:
    bounds = {i: node.optional(i) for i in (1, 2)}
    given = [(view, ("maximum", "minimum")[i - 1]) for i, view in bounds.items() if view]

    def formula(x: Expression, *limits: Expression) -> Expression:
        for limit, (_, operation) in zip(limits, given, strict=True):
            x = call(operation, x, limit)
        return x

    return broadcast(builder, [node.view(0), *(view for view, _ in given)], formula)


def _mod(builder: Builder, node: Node) -> View:
    operation = "truncated_mod" if node.attributes.get("fmod", 0) else "floor_mod"
    return broadcast(builder, [node.view(0), node.view(1)], _plain(operation))


def _cast(builder: Builder, node: Node) -> View:
    return _convert(builder, node.view(0), onnx_dtype(node.attributes["to"]))


def _cast_like(builder: Builder, node: Node) -> View:
    return _convert(builder, node.view(0), node.view(1).dtype)


def _convert(builder: Builder, view: View, dtype: str) -> View:
    if view.dtype == dtype:
        return view
    return broadcast(builder, [view], lambda x: cast(x, dtype))


def onnx_dtype(code: int) -> str:
    """The dtype name of an ONNX element type code."""
    return str(onnx.helper.tensor_dtype_to_np_dtype(code))


def _power(builder: Builder, node: Node) -> View:
    base, exponent = node.view(0), node.view(1)
    known = node.constants[1]
    if known is not None and known.size == 1 and known.item() == 2:
        return broadcast(builder, [base], lambda x: multiply(x, x))
    if known is not None and known.size == 1 and known.item() == 0.5:
        return broadcast(builder, [base], lambda x: call("sqrt", x))
    return broadcast(builder, [base, exponent], lambda x, y: call("power", x, cast(y, base.dtype)))


def _fold(operation: str) -> Callable[[Builder, Node], View]:
    """A variadic operator: the operation applied from left to right."""

    def formula(first: Expression, *rest: Expression) -> Expression:
        for operand in rest:
            first = call(operation, first, operand)
        return first

    return _formula(formula)


def _mean(builder: Builder, node: Node) -> View:
    total = _fold("add")(builder, node)
    return broadcast(builder, [total], lambda x: divide(x, like(len(node.inputs), x)))


def _is_infinite(builder: Builder, node: Node) -> View:
    def formula(x: Expression) -> Expression:
        result: Expression = constant(False, "bool")
        for name, bound in (("detect_positive", math.inf), ("detect_negative", -math.inf)):
            if node.attributes.get(name, 1):
                result = call("or", result, call("equal", x, like(bound, x)))
        return result

    return broadcast(builder, [node.view(0)], formula)


def _absolute(x: Expression) -> Expression:
    return x if x.dtype.startswith(("u", "bool")) else call("absolute", x)


def _prelu(x: Expression, slope: Expression) -> Expression:
    return select(call("less", x, like(0, x)), multiply(slope, x), x)


OPERATORS: dict[str, Callable[[Builder, Node], View]] = {
    **{
        onnx_name: _formula(_plain(operation))
        for onnx_name, operation in {
            "Add": "add",
            "Sub": "subtract",
            "Mul": "multiply",
            "Div": "divide",
            "Neg": "negative",
            "Sign": "sign",
            "Sqrt": "sqrt",
            "Exp": "exp",
            "Log": "log",
            "Erf": "erf",
            "Sin": "sin",
            "Cos": "cos",
            "Tan": "tan",
            "Sinh": "sinh",
            "Cosh": "cosh",
            "Tanh": "tanh",
            "Asin": "asin",
            "Acos": "acos",
            "Atan": "atan",
            "Asinh": "asinh",
            "Acosh": "acosh",
            "Atanh": "atanh",
            "Sigmoid": "sigmoid",
            "Floor": "floor",
            "Ceil": "ceil",
            "Round": "round",
            "IsNaN": "is_nan",
            "Not": "not",
            "And": "and",
            "Or": "or",
            "Xor": "xor",
            "BitwiseAnd": "bit_and",
            "BitwiseOr": "bit_or",
            "BitwiseXor": "bit_xor",
            "Less": "less",
            "LessOrEqual": "less_equal",
            "Greater": "greater",
            "GreaterOrEqual": "greater_equal",
            "Equal": "equal",
            "Where": "select",
        }.items()
    },
    "Abs": _formula(_absolute),
    "Max": _fold("maximum"),
    "Min": _fold("minimum"),
    "Sum": _fold("add"),
    "Mean": _mean,
    "Relu": _formula(_relu),
    "Softplus": _formula(_softplus),
    "Softsign": _formula(_softsign),
    "Reciprocal": _formula(_reciprocal),
    "Mish": _formula(_mish),
    "HardSwish": _formula(_hard_swish),
    "PRelu": _formula(_prelu),
    "LeakyRelu": _leaky_relu,
    "Elu": _elu,
    "Celu": _celu,
    "Selu": _selu,
    "ThresholdedRelu": _thresholded_relu,
    "HardSigmoid": _hard_sigmoid,
    "Shrink": _shrink,
    "Gelu": _gelu,
    "Clip": _clip,
    "Mod": _mod,
    "Pow": _power,
    "Cast": _cast,
    "CastLike": _cast_like,
    "IsInf": _is_infinite,
}
