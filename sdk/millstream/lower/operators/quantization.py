"""QuantizeLinear and DequantizeLinear: the only words the step graph has for fixed point."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from millstream.lower.builder import Builder, Node, Untranslatable
from millstream.lower.expression import add, call, cast, clamp, divide, multiply, subtract
from millstream.lower.view import View


def _along(node: Node, x: View, place: int) -> View | None:
    """Scale or zero point, spread over the whole of `x`."""
    view = node.optional(place)
    if view is None:
        return None
    if node.attributes.get("block_size", 0):
        raise Untranslatable("blocked quantization is not lowered yet", "quantize per tensor or per axis")
    if len(view.shape) == 1 and view.size > 1:
        axis = node.attributes.get("axis", 1) % len(x.shape)
        for _ in range(len(x.shape) - axis - 1):
            view = view.insert(len(view.shape))
    elif len(view.shape) == 1:
        view = view.drop(0)
    return view.expand(x.shape)


def _quantize(builder: Builder, node: Node) -> View:
    x = node.view(0)
    scale, zero = _along(node, x, 1), _along(node, x, 2)
    if scale is None:
        raise Untranslatable("a quantization without scale")
    dtype = zero.dtype if zero else "uint8"
    limits = np.iinfo(dtype)
    value = call("round", divide(builder.read(x), builder.read(scale)))
    if zero is not None:
        value = add(value, cast(builder.read(zero), x.dtype))
    return builder.map(x.shape, cast(clamp(value, limits.min, limits.max), dtype))


def _dequantize(builder: Builder, node: Node) -> View:
    x = node.view(0)
    scale, zero = _along(node, x, 1), _along(node, x, 2)
    if scale is None:
        raise Untranslatable("a dequantization without scale")
    value = cast(builder.read(x), "int32")
    if zero is not None:
        value = subtract(value, cast(builder.read(zero), "int32"))
    return builder.map(x.shape, multiply(cast(value, scale.dtype), builder.read(scale)))


OPERATORS: dict[str, Callable[[Builder, Node], View]] = {
    "QuantizeLinear": _quantize,
    "DequantizeLinear": _dequantize,
}
