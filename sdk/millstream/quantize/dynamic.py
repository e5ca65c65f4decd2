"""Integer products with activation scales of the moment: every row of an activation has that of its own
largest value.

    largest = max |x|
    q = int8(round(x * (127 / max(largest, tiny))))
    y = (float(q W) * largest) * (weight scale / 127) + bias

Needs no calibration and never saturates. |x| <= largest, so no product of it with 127 / largest rounds to
anything beyond 127: no clipping is needed. Each step is one IEEE operation that no compiler may reassociate,
so equal activations give equal integers everywhere. An activation that is nowhere larger than `tiny` counts
as 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx

from millstream.graph import StepGraph
from millstream.quantize.activations import RoundedActivation
from millstream.quantize.calibration import Calibration
from millstream.quantize.integer import back_to_float, integer_product, weight_scale
from millstream.quantize.product import Product
from millstream.quantize.rewriting import Rewriting, Rounding, rewrite
from millstream.quantize.rounding import LARGEST

#: Keeps 127 / largest finite where an activation is all zero.
TINY = 1e-30


def quantize_dynamically(
    graph: StepGraph, products: Sequence[Product], calibration: Calibration, rounding: Rounding
) -> StepGraph:
    """Compute `products` on integers, with scales measured at every step."""
    ready: dict[tuple[str, tuple[int, ...]], tuple[str, str]] = {}

    def replace(writing: Rewriting, product: Product) -> None:
        axes = _reduced_axes(product, writing.constants[product.weight].ndim)
        key = (product.activation, axes)
        if key not in ready:
            ready[key] = _quantized(writing, product.activation, axes)
        quantized, largest = ready[key]
        sums = integer_product(writing, product, quantized)
        scale = weight_scale(writing, product, 1 / LARGEST)
        spread = writing.constant(f"{product.weight}.scale", scale)
        back_to_float(writing, product, sums, largest, spread)

    return rewrite(graph, products, replace, rounding)


def rounded_dynamically(
    constants: Mapping[str, np.ndarray], product: Product, x: np.ndarray
) -> RoundedActivation:
    """The activation on the scales of the moment; nothing saturates."""
    axes = _reduced_axes(product, x.ndim)
    step = np.maximum(np.abs(x).max(axes, keepdims=True), np.float32(TINY)) / np.float32(LARGEST)
    return RoundedActivation(np.rint(x / step) * step, (float(step.min()), float(step.max())), 0)


def _reduced_axes(product: Product, rank: int) -> tuple[int, ...]:
    """The axes of an activation of that rank that share one scale: all that a sum runs over."""
    return tuple(range(1, rank)) if product.is_convolution else (-1,)


def _quantized(writing: Rewriting, activation: str, axes: tuple[int, ...]) -> tuple[str, str]:
    """The activation in int8, and its largest magnitude."""
    scalars = {"tiny": np.float32(TINY), "most": np.float32(LARGEST)}
    tiny, most = (writing.constant(f"quantized.{name}", np.array(value)) for name, value in scalars.items())
    name = "quantized.axes" + "".join(str(axis) for axis in axes)
    over = writing.constant(name, np.array(axes, np.int64))
    magnitude = writing.node("Abs", [activation])
    largest = writing.node("ReduceMax", [magnitude, over], keepdims=1)
    inverse = writing.node("Div", [most, writing.node("Max", [largest, tiny])])
    steps = writing.node("Mul", [activation, inverse])
    whole = writing.node("Round", [steps])
    return writing.node("Cast", [whole], to=onnx.TensorProto.INT8), largest
