"""The ways to quantize, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from millstream.errors import UnknownFormat
from millstream.graph import StepGraph
from millstream.quantize.calibration import Calibration
from millstream.quantize.dynamic import quantize_dynamically
from millstream.quantize.feedback import second_moments, to_int4_with_feedback
from millstream.quantize.fixed_point import fixed16
from millstream.quantize.product import Product
from millstream.quantize.rewriting import Rounding
from millstream.quantize.rounding import Rounded, to_int4, to_int8, to_ternary
from millstream.quantize.static import quantize_statically
from millstream.quantize.weight_only import quantize_weights

#: Takes a flat, folded graph and the products to quantize.
Rewrite = Callable[[StepGraph, Sequence[Product], Calibration], StepGraph]


@dataclass(frozen=True)
class Format:
    """A way to quantize. A weight takes `bits`.

    `max_error` is the largest relative RMS error, of any output or state against float, that an export
    accepts. `left` are outputs of products that it leaves in float. A format of the `whole` step chooses no
    products: it rewrites every node, or refuses.
    """

    name: str
    summary: str
    rewrite: Rewrite
    max_error: float
    bits: int
    left: frozenset[str] = frozenset()
    whole: bool = False


def format_named(name: str) -> Format:
    """The format of that name. Raises UnknownFormat naming those that exist."""
    if name not in FORMATS:
        raise UnknownFormat(f"no format is called {name!r}", fix="use one of " + ", ".join(FORMATS))
    return FORMATS[name]


def _alone(to_integers: Callable[[np.ndarray, int], Rounded]) -> Rounding:
    """Every weight rounded for itself."""
    return lambda product, weight: to_integers(weight, product.channel)


def _with_feedback(graph: StepGraph, products: Sequence[Product], calibration: Calibration) -> Rounding:
    """int4 that makes good for its errors, where the product is that of a matrix."""
    matrices = [product for product in products if not product.is_convolution]
    names = sorted({product.activation for product in matrices})
    moments = second_moments(graph, names, calibration) if names else {}

    def rounding(product: Product, weight: np.ndarray) -> Rounded:
        if product.is_convolution:
            return to_int4(weight, product.channel)
        return to_int4_with_feedback(weight, product.channel, moments[product.activation])

    return rounding


def _w8(graph: StepGraph, products: Sequence[Product], calibration: Calibration) -> StepGraph:
    return quantize_weights(graph, products, _alone(to_int8))


def _w4(graph: StepGraph, products: Sequence[Product], calibration: Calibration) -> StepGraph:
    return quantize_weights(graph, products, _with_feedback(graph, products, calibration))


def _w8a8(graph: StepGraph, products: Sequence[Product], calibration: Calibration) -> StepGraph:
    return quantize_dynamically(graph, products, _alone(to_int8))


def _w8a8_static(graph: StepGraph, products: Sequence[Product], calibration: Calibration) -> StepGraph:
    return quantize_statically(graph, products, calibration, _alone(to_int8))


def _w4a8(graph: StepGraph, products: Sequence[Product], calibration: Calibration) -> StepGraph:
    return quantize_dynamically(graph, products, _with_feedback(graph, products, calibration))


def _ternary(graph: StepGraph, products: Sequence[Product], calibration: Calibration) -> StepGraph:
    return quantize_dynamically(graph, products, _alone(to_ternary))


#: What 4 bits cost depends on the model; a model that was not trained for ternary weights loses everything.
_ALL = (
    Format("w8", "weights in int8, sums in float", _w8, 0.02, 8),
    Format("w4", "weights in int4, sums in float", _w4, 0.25, 4),
    Format("w8a8", "weights and activations in int8, scaled at every step", _w8a8, 0.05, 8),
    Format("w8a8-static", "weights and activations in int8, scales from the example", _w8a8_static, 0.1, 8),
    Format("w4a8", "weights in int4, activations in int8, scaled at every step", _w4a8, 0.25, 4),
    Format("fixed16", "the whole step on integers of 16 bits, for FPGA", fixed16, 0.02, 16, whole=True),
    Format("ternary", "weights -1, 0, 1 (trained so), activations in int8", _ternary, 0.05, 2),
)
FORMATS: Mapping[str, Format] = {each.name: each for each in _ALL}
