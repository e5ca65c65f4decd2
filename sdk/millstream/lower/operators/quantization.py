"""QuantizeLinear and DequantizeLinear: the only words the step graph has for fixed point."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from millstream.lower.builder import Builder, Node, Untranslatable
from millstream.lower.expression import (
    add,
    call,
    cast,
    clamp,
    divide,
    like,
    multiply,
    subtract,
)
from millstream.lower.operators.elementwise import broadcast, onnx_dtype
from millstream.lower.operators.reduction import identity, reduce_axes
from millstream.lower.view import View
from millstream_runtime.program import Expression


def along(view: View, axis: int, rank: int) -> View:
    """A vector laid along `axis` of a tensor of that rank; one number, or any other shape, as it is."""
    if len(view.shape) != 1:
        return view
    if view.size == 1:
        return view.drop(0)
    for _ in range(rank - axis % rank - 1):
        view = view.insert(len(view.shape))
    return view


def saturated(x: Expression, dtype: str) -> Expression:
    """A whole float as an integer of that dtype, kept within its range."""
    limits = np.iinfo(dtype)
    return cast(clamp(x, limits.min, limits.max), dtype)


def _spread(builder: Builder, node: Node, place: int) -> View | None:
    """Scale or zero point: per tensor, per slice of `axis`, or per block along it; broadcasts to x."""
    view = node.optional(place)
    if view is None:
        return None
    x, block = node.view(0), node.attributes.get("block_size", 0)
    axis = node.attributes.get("axis", 1)
    if not block:
        return along(view, axis, len(x.shape))
    axis %= len(x.shape)
    repeated = view.insert(axis + 1).expand((*view.shape[: axis + 1], block, *view.shape[axis + 1 :]))
    shape = (*view.shape[:axis], view.shape[axis] * block, *view.shape[axis + 1 :])
    return builder.reshape(repeated, shape).slice(axis, 0, x.shape[axis])


def _quantize(builder: Builder, node: Node) -> View:
    x, scale, zero = node.view(0), _spread(builder, node, 1), _spread(builder, node, 2)
    if scale is None:
        raise Untranslatable("a quantization without scale")
    code = node.attributes.get("output_dtype", 0)
    dtype = zero.dtype if zero else onnx_dtype(code) if code else "uint8"
    zero = None if zero and builder.is_zero(zero) else zero

    def formula(x: Expression, scale: Expression, zero: Expression | None = None) -> Expression:
        steps = call("round", divide(cast(x, scale.dtype), scale))
        return saturated(add(steps, cast(zero, steps.dtype)) if zero else steps, dtype)

    return broadcast(builder, [view for view in (x, scale, zero) if view], formula)


def _dequantize(builder: Builder, node: Node) -> View:
    x, scale, zero = node.view(0), _spread(builder, node, 1), _spread(builder, node, 2)
    if scale is None:
        raise Untranslatable("a dequantization without scale")

    zero = None if zero and builder.is_zero(zero) else zero

    def formula(x: Expression, scale: Expression, zero: Expression | None = None) -> Expression:
        steps = subtract(cast(x, "int32"), cast(zero, "int32")) if zero else x
        return multiply(cast(steps, scale.dtype), scale)

    return broadcast(builder, [view for view in (x, scale, zero) if view], formula)


def _dynamic_quantize(builder: Builder, node: Node) -> list[View]:
    """uint8 with the scale and zero point that just hold the range of x, zero included."""
    x = node.view(0)
    axes = range(len(x.shape))
    low, high = (
        reduce_axes(builder, x, axes, kind, identity, lambda v, f=formula: call(f, v, like(0, v)))
        for kind, formula in (("min", "minimum"), ("max", "maximum"))
    )

    def step(low: Expression, high: Expression) -> Expression:
        return divide(subtract(high, low), like(255, low))

    def offset(low: Expression, scale: Expression) -> Expression:
        return saturated(call("round", divide(call("negative", low), scale)), "uint8")

    def quantized(x: Expression, scale: Expression, zero: Expression) -> Expression:
        return saturated(add(call("round", divide(x, scale)), cast(zero, x.dtype)), "uint8")

    scale = broadcast(builder, [low, high], step)
    zero = broadcast(builder, [low, scale], offset)
    scalars = [builder.reshape(view, ()) for view in (scale, zero)]
    return [broadcast(builder, [x, *scalars], quantized), *scalars]


OPERATORS: dict[str, Callable[[Builder, Node], View | list[View]]] = {
    "QuantizeLinear": _quantize,
    "DequantizeLinear": _dequantize,
    "DynamicQuantizeLinear": _dynamic_quantize,
}
