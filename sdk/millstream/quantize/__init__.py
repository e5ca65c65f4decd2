"""Quantization: rewrites from step graph to step graph that say every integer with standard operators.

The reference then defines the integers, and whatever runs ONNX can run them. One file per format; a format
rewrites the products that are worth it and leaves states, gates and everything else in float.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from millstream.errors import NothingToQuantize, UnknownFormat
from millstream.fold import fold_constants
from millstream.graph import StepGraph, build, initializers, origin
from millstream.quantize.calibration import Calibration
from millstream.quantize.dynamic import quantize_dynamically
from millstream.quantize.fixed_point import fixed16
from millstream.quantize.product import Product, Weight, find, left_in_float
from millstream.quantize.recurrence import drifting
from millstream.quantize.static import quantize_statically
from millstream.quantize.weight_only import quantize_weights


@dataclass(frozen=True)
class Format:
    """A way to quantize.

    `rewrite` takes a flat, folded graph and the products to quantize. `max_error` is the largest relative RMS
    error, of any output or state against float, that an export accepts. A format of the `whole` step chooses
    no products: it rewrites every node, or refuses.
    """

    name: str
    summary: str
    rewrite: Callable[[StepGraph, Sequence[Product], Calibration], StepGraph]
    max_error: float
    whole: bool = False


W8 = Format("w8", "weights in int8, sums in float", quantize_weights, 0.02)
W8A8 = Format("w8a8", "weights and activations in int8, scaled at every step", quantize_dynamically, 0.05)
W8A8_STATIC = Format(
    "w8a8-static", "weights and activations in int8, scales from the example", quantize_statically, 0.1
)
FIXED16 = Format(
    "fixed16", "the whole step on 16-bit integers with binary points, for FPGA", fixed16, 0.02, whole=True
)

FORMATS: Mapping[str, Format] = {each.name: each for each in (W8, W8A8, W8A8_STATIC, FIXED16)}


@dataclass(frozen=True)
class Quantized:
    """A quantized step graph, the products in it that are, and the weights that stay in float.

    `original` is the flat float graph that it was made from.
    """

    format: Format
    graph: StepGraph
    original: StepGraph
    products: tuple[Product, ...]
    left: tuple[Weight, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values for the report."""
        constants = initializers(self.original.model)
        return {
            "format": self.format.name,
            "quantized": [
                {
                    "operator": product.node.op_type,
                    "origin": origin(product.node),
                    "shape": list(constants[product.weight].shape),
                }
                for product in self.products
            ],
            "left in float": [{**asdict(weight), "shape": list(weight.shape)} for weight in self.left],
        }


def format_named(name: str) -> Format:
    """The format of that name. Raises UnknownFormat naming those that exist."""
    if name not in FORMATS:
        raise UnknownFormat(f"no format is called {name!r}", fix="use one of " + ", ".join(FORMATS))
    return FORMATS[name]


def quantize(graph: StepGraph, format: Format, calibration: Calibration) -> Quantized:
    """Quantize every product of the graph that is worth it and whose states bear it.

    Raises NothingToQuantize when there is none; a format of the whole step UnsupportedOperators.
    """
    flat = build(fold_constants(graph.flatten().model), graph.states)
    products, left = find(flat)
    if format.whole:
        return Quantized(format, format.rewrite(flat, products, calibration), flat, tuple(products), ())

    def quantized(some: Sequence[Product]) -> StepGraph:
        return format.rewrite(flat, some, calibration)

    kept = drifting(flat, products, quantized, calibration)
    constants = initializers(flat.model)
    left += [left_in_float(p, constants, kept[p.output]) for p in products if p.output in kept]
    chosen = tuple(product for product in products if product.output not in kept)
    if not chosen:
        raise NothingToQuantize(
            f"no product of the model can be {format.name}",
            why="; ".join(map(str, left)) or "it has no weights",
            fix="export it without quantization",
        )
    return Quantized(format, quantized(chosen), flat, chosen, tuple(left))
