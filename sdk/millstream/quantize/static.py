"""Integer products with constant activation scales, measured on example frames.

    q = QuantizeLinear(x, scale)
    y = float(q W) * (scale * weight scale) + bias

One pass over an activation less than with dynamic scales; values beyond the range saturate. The range is
chosen by what it does to the products (`ranges`), and so is a constant that is added before (`noise`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from millstream.graph import StepGraph, initializers
from millstream.quantize.activations import RoundedActivation
from millstream.quantize.calibration import Calibration, samples
from millstream.quantize.integer import back_to_float, integer_product, weight_scale
from millstream.quantize.noise import best_noise
from millstream.quantize.product import Product
from millstream.quantize.ranges.choosing import best_range
from millstream.quantize.rewriting import Rewriting, Rounding, rewrite
from millstream.quantize.rounding import LARGEST

#: The range of an activation and what is added to its channels before the rounding, if anything is; from its
#: values (rows, ...), the products that read it, and all constants.
Fit = Callable[[np.ndarray, Sequence[Product], Mapping[str, np.ndarray]], tuple[float, np.ndarray | None]]


def best_fit(
    x: np.ndarray, products: Sequence[Product], constants: Mapping[str, np.ndarray]
) -> tuple[float, np.ndarray | None]:
    """The range and the noise with which the results of the products move least. See `Fit`."""
    largest = best_range(x, products, constants)
    return largest, best_noise(x, products, constants, largest)


def quantize_statically(
    graph: StepGraph,
    products: Sequence[Product],
    calibration: Calibration,
    rounding: Rounding,
    fit: Fit = best_fit,
) -> StepGraph:
    """Compute `products` on integers; each activation has the range that fits it."""
    multiplied = [product for product in products if not product.is_lookup]
    names, constants = sorted({p.activation for p in multiplied}), initializers(graph.model)
    ranges: dict[str, float] = {}
    noises: dict[str, np.ndarray | None] = {}
    for name, x in samples(graph, names, calibration).items():
        own = [product for product in multiplied if product.activation == name]
        ranges[name], noises[name] = fit(x, own, constants)
    ready: dict[str, str] = {}

    def write(writing: Rewriting, product: Product) -> None:
        name = product.activation
        scale, noise = np.float32(ranges[name] / LARGEST), noises[name]
        if name not in ready:
            ready[name] = _quantized(writing, name, scale, noise)
        sums = integer_product(writing, product, ready[name])
        scales = weight_scale(writing, product, float(scale))
        put_right = product if noise is None else _put_right(writing, product, noise)
        back_to_float(writing, put_right, sums, writing.constant(f"{product.output}.scale", scales))

    return rewrite(graph, products, write, rounding)


def rounded_statically(
    constants: Mapping[str, np.ndarray], product: Product, x: np.ndarray
) -> RoundedActivation:
    """The activation on the constant scale that the quantized graph holds for it."""
    step = constants[_step(product.activation)]
    noise = constants.get(_noise(product.activation), np.float32(0))
    whole = np.rint((x + noise) / step)
    held = np.clip(whole, -LARGEST - 1, LARGEST)
    return RoundedActivation(held * step - noise, (float(step), float(step)), int((whole != held).sum()))


def _step(activation: str) -> str:
    """The name of the constant that holds the scale of an activation."""
    return f"{activation}.step"


def _noise(activation: str) -> str:
    """The name of the constant that is added to an activation, if any is."""
    return f"{activation}.noise"


def _quantized(writing: Rewriting, activation: str, scale: np.float32, noise: np.ndarray | None) -> str:
    name = writing.constant(_step(activation), np.array(scale))
    zero = writing.constant("quantized.zero", np.array(0, np.int8))
    if noise is not None:
        activation = writing.node("Add", [activation, writing.constant(_noise(activation), noise)])
    return writing.node("QuantizeLinear", [activation, name, zero])


def _put_right(writing: Rewriting, product: Product, noise: np.ndarray) -> Product:
    """The product with a bias that takes away what its rounded weights make of the noise."""
    rounded = writing.rounded(product)
    weight = rounded.values * rounded.steps(product.channel).astype(np.float64)
    made = noise @ (weight if product.channel else weight.T)
    bias = writing.constants[product.bias].astype(np.float64) if product.bias else 0.0
    name = writing.constant(f"{product.output}.bias", (bias - made).astype(np.float32))
    return replace(product, bias=name)
