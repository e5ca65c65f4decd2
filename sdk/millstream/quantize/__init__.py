"""Quantization: rewrites from step graph to step graph that say every integer with standard operators.

The reference then defines the integers, and whatever runs ONNX can run them. One file per format; a format
rewrites the products that are worth it and leaves states, gates and everything else in float.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from millstream.fold import fold_constants
from millstream.graph import StepGraph, build
from millstream.quantize.calibration import Calibration
from millstream.quantize.dynamic import quantize_dynamically
from millstream.quantize.product import Product, Weight, find
from millstream.quantize.static import quantize_statically
from millstream.quantize.weight_only import quantize_weights


@dataclass(frozen=True)
class Format:
    """A way to quantize.

    `rewrite` takes a flat, folded graph and the products to quantize. `max_error` is the largest relative RMS
    error, of any output or state against float, that an export accepts.
    """

    name: str
    summary: str
    rewrite: Callable[[StepGraph, Sequence[Product], Calibration], StepGraph]
    max_error: float


W8 = Format("w8", "weights in int8, sums in float", quantize_weights, 0.02)
W8A8 = Format("w8a8", "weights and activations in int8, scaled at every step", quantize_dynamically, 0.05)
W8A8_STATIC = Format(
    "w8a8-static", "weights and activations in int8, scales from the example", quantize_statically, 0.1
)

FORMATS: Mapping[str, Format] = {each.name: each for each in (W8, W8A8, W8A8_STATIC)}


@dataclass(frozen=True)
class Quantized:
    """A quantized step graph, the products in it that are, and the weights that stay in float."""

    graph: StepGraph
    products: tuple[Product, ...]
    left: tuple[Weight, ...]


def quantize(graph: StepGraph, format: Format, calibration: Calibration) -> Quantized:
    """Quantize every product of the graph that is worth it."""
    flat = build(fold_constants(graph.flatten().model), graph.states)
    products, left = find(flat)
    return Quantized(format.rewrite(flat, products, calibration), tuple(products), tuple(left))
