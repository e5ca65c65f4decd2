"""Integer products with constant activation scales, measured on example frames.

    q = QuantizeLinear(x, scale)
    y = float(q W) * (scale * weight scale) + bias

One pass over an activation less than with dynamic scales; values beyond the range saturate. The range is
chosen by what it does to the products (`ranges`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from millstream.graph import StepGraph, initializers
from millstream.quantize.activations import RoundedActivation
from millstream.quantize.calibration import Calibration, samples
from millstream.quantize.integer import back_to_float, integer_product, weight_scale
from millstream.quantize.product import Product
from millstream.quantize.ranges.choosing import best_range
from millstream.quantize.rewriting import Rewriting, Rounding, rewrite
from millstream.quantize.rounding import LARGEST

#: The range of an activation, from its values (rows, ...), the products that read it, and all constants.
FindRange = Callable[[np.ndarray, Sequence[Product], Mapping[str, np.ndarray]], float]


def quantize_statically(
    graph: StepGraph,
    products: Sequence[Product],
    calibration: Calibration,
    rounding: Rounding,
    find_range: FindRange = best_range,
) -> StepGraph:
    """Compute `products` on integers; each activation has the range that is found for it."""
    names, constants = sorted({p.activation for p in products}), initializers(graph.model)
    ranges = {
        name: find_range(x, [p for p in products if p.activation == name], constants)
        for name, x in samples(graph, names, calibration).items()
    }
    ready: dict[str, str] = {}

    def replace(writing: Rewriting, product: Product) -> None:
        name = product.activation
        scale = np.float32(ranges[name] / LARGEST)
        if name not in ready:
            ready[name] = _quantized(writing, name, scale)
        sums = integer_product(writing, product, ready[name])
        scales = weight_scale(writing, product, float(scale))
        back_to_float(writing, product, sums, writing.constant(f"{product.output}.scale", scales))

    return rewrite(graph, products, replace, rounding)


def rounded_statically(
    constants: Mapping[str, np.ndarray], product: Product, x: np.ndarray
) -> RoundedActivation:
    """The activation on the constant scale that the quantized graph holds for it."""
    step = constants[_step(product.activation)]
    whole = np.rint(x / step)
    held = np.clip(whole, -LARGEST - 1, LARGEST)
    return RoundedActivation(held * step, (float(step), float(step)), int((whole != held).sum()))


def _step(activation: str) -> str:
    """The name of the constant that holds the scale of an activation."""
    return f"{activation}.step"


def _quantized(writing: Rewriting, activation: str, scale: np.float32) -> str:
    name = writing.constant(_step(activation), np.array(scale))
    zero = writing.constant("quantized.zero", np.array(0, np.int8))
    return writing.node("QuantizeLinear", [activation, name, zero])
