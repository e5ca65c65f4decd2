"""Products of integers, exact in int32, and those whose result is quantized again."""

from __future__ import annotations

from collections.abc import Callable

from millstream.lower.builder import Builder, Node
from millstream.lower.expression import add, call, cast, multiply, subtract
from millstream.lower.operators.convolution import convolve, grouped, window
from millstream.lower.operators.elementwise import broadcast
from millstream.lower.operators.linear import product
from millstream.lower.operators.quantization import along, saturated
from millstream.lower.view import View
from millstream_runtime.program import Expression


def _matmul_integer(builder: Builder, node: Node) -> View:
    return _product(builder, node.view(0), node.optional(2), node.view(1), node.optional(3))


def _product(builder: Builder, a: View, a_zero: View | None, b: View, b_zero: View | None) -> View:
    """(A - its zero point) (B - its zero point); zero points per tensor, row of A or column of B."""
    if a_zero is not None and a_zero.size > 1:
        a, a_zero = _centred(builder, a, a_zero, -2), None
    if b_zero is not None and b_zero.size > 1:
        b, b_zero = _centred(builder, b, b_zero, -1), None
    rank = max(len(a.shape), len(b.shape), 2) + 1
    zeros = [_one_zero_point(builder, zero, rank) for zero in (a_zero, b_zero)]

    def term(x: Expression, y: Expression) -> Expression:
        wide = [cast(value, "int32") for value in (x, y)]
        shifted = [subtract(v, z) if z else v for v, z in zip(wide, zeros, strict=True)]
        return call("multiply", *shifted)

    return product(builder, a, b, term)


def _one_zero_point(builder: Builder, zero: View | None, rank: int) -> Expression | None:
    """The zero point of a whole tensor as int32, or None when it is known to be 0."""
    if zero is None or builder.is_zero(zero):
        return None
    return cast(builder.read(builder.reshape(zero, ()), [], rank), "int32")


def _centred(builder: Builder, x: View, zero: View | None, axis: int) -> View:
    """x less its zero point (one number, or one per slice along `axis`), in int32."""
    if zero is None:
        return broadcast(builder, [x], lambda value: cast(value, "int32"))
    zeros = along(zero, axis, len(x.shape))
    return broadcast(builder, [x, zeros], lambda v, z: subtract(cast(v, "int32"), cast(z, "int32")))


def _convolve_integer(builder: Builder, node: Node) -> View:
    return _convolution(builder, node, node.view(0), node.optional(2), node.view(1), node.optional(3))


def _convolution(
    builder: Builder, node: Node, x: View, x_zero: View | None, w: View, w_zero: View | None
) -> View:
    """The convolution of x and w, each less its zero point; so padding is with the zero point."""
    if w_zero is not None and not builder.is_zero(w_zero):
        w = _centred(builder, w, w_zero, 0)
    over = window(node, w.shape[2:], x.shape[2:])
    return convolve(builder, _centred(builder, x, x_zero, 0), grouped(node, w), over, node.optional(8))


def _quantized_matmul(builder: Builder, node: Node) -> View:
    sums = _product(builder, node.view(0), node.view(2), node.view(3), node.view(5))
    rank = len(sums.shape)
    scales = [along(node.view(1), -2, rank), along(node.view(4), -1, rank)]
    return _requantized(builder, sums, scales, node.view(6), node.view(7))


def _quantized_convolve(builder: Builder, node: Node) -> View:
    sums = _convolution(builder, node, node.view(0), node.view(2), node.view(3), node.view(5))
    scales = [node.view(1), along(node.view(4), 1, len(sums.shape))]
    return _requantized(builder, sums, scales, node.view(6), node.view(7))


def _requantized(builder: Builder, sums: View, scales: list[View], y_scale: View, y_zero: View) -> View:
    """saturate(round(sums * a_scale * b_scale / y_scale) + zero point), scaled in float32."""

    def formula(
        total: Expression, a: Expression, b: Expression, y: Expression, zero: Expression
    ) -> Expression:
        scale = call("divide", multiply(a, b), y)
        steps = call("round", multiply(cast(total, scale.dtype), scale))
        return saturated(add(steps, cast(zero, steps.dtype)), zero.dtype)

    return broadcast(builder, [sums, *scales, y_scale, y_zero], formula)


OPERATORS: dict[str, Callable[[Builder, Node], View]] = {
    "MatMulInteger": _matmul_integer,
    "ConvInteger": _convolve_integer,
    "QLinearMatMul": _quantized_matmul,
    "QLinearConv": _quantized_convolve,
}
