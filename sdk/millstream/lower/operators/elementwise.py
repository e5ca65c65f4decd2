"""Operators whose every output element depends on the elements at the same place."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import onnx.helper

from millstream.lower.builder import Builder, Node, Untranslatable
from millstream.lower.expression import (
    call,
    cast,
    constant,
    divide,
    like,
    multiply,
)
from millstream.lower.view import View
from millstream_runtime.program import Expression

Formula = Callable[..., Expression]
Translator = Callable[[Builder, Node], View]


def broadcast(builder: Builder, views: list[View], formula: Formula) -> View:
    """Apply a formula element by element, operands broadcast against each other."""
    shape = np.broadcast_shapes(*(view.shape for view in views))
    return builder.map(shape, formula(*(builder.read(view.expand(shape)) for view in views)))


def _scalar(operation: str) -> Formula:
    return lambda *operands: call(operation, *operands)


def by_formula(formula: Formula) -> Translator:
    """The translator of an operator without attributes."""
    return lambda builder, node: broadcast(builder, [node.view(i) for i in range(len(node.inputs))], formula)


def plain(operation: str) -> Translator:
    """The translator of an operator that is one scalar operation."""
    return by_formula(_scalar(operation))


def _reciprocal(x: Expression) -> Expression:
    return divide(like(1, x), x)


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
    return broadcast(builder, [node.view(0), node.view(1)], _scalar(operation))


def _cast(builder: Builder, node: Node) -> View:
    return _convert(builder, node.view(0), onnx_dtype(node.attributes["to"]))


def _cast_like(builder: Builder, node: Node) -> View:
    return _convert(builder, node.view(0), node.view(1).dtype)


def _convert(builder: Builder, view: View, dtype: str) -> View:
    if view.dtype == dtype:
        return view
    if "float16" in (view.dtype, dtype) and {view.dtype, dtype} != {"float16", "float32"}:
        raise Untranslatable("dtype float16 is not lowered", "cast to float32 between the two")
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


def _fold(operation: str) -> Translator:
    """A variadic operator: the operation applied from left to right."""

    def formula(first: Expression, *rest: Expression) -> Expression:
        for operand in rest:
            first = call(operation, first, operand)
        return first

    return by_formula(formula)


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


OPERATORS: dict[str, Translator] = {
    **{
        onnx_name: plain(operation)
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
            "Floor": "floor",
            "Ceil": "ceil",
            "Round": "round",
            "IsNaN": "is_nan",
            "Not": "not",
            "And": "and",
            "Or": "or",
            "Xor": "xor",
            "Less": "less",
            "LessOrEqual": "less_equal",
            "Greater": "greater",
            "GreaterOrEqual": "greater_equal",
            "Equal": "equal",
            "Where": "select",
        }.items()
    },
    "Abs": by_formula(_absolute),
    "Max": _fold("maximum"),
    "Min": _fold("minimum"),
    "Sum": _fold("add"),
    "Mean": _mean,
    "Reciprocal": by_formula(_reciprocal),
    "Clip": _clip,
    "Mod": _mod,
    "Pow": _power,
    "Cast": _cast,
    "CastLike": _cast_like,
    "IsInf": _is_infinite,
}
