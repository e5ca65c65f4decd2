"""Quantization: rewrites from step graph to step graph that say every integer with standard operators.

The reference then defines the integers, and whatever runs ONNX can run them. One file per format; a format
rewrites the products that are worth it and leaves states, gates and everything else in float.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from millstream.errors import NothingToQuantize
from millstream.fold import fold_constants
from millstream.graph import StepGraph, build, initializers, origin
from millstream.quantize.calibration import Calibration
from millstream.quantize.formats import FORMATS, Format, format_named
from millstream.quantize.product import Product, Weight, find, left_in_float
from millstream.quantize.recurrence import drifting

#: Why a product that a format leaves stays in float.
_COSTLY = "in no format does it stay within the budget"

__all__ = ["FORMATS", "Format", "Quantized", "flattened", "format_named", "quantize"]


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


def flattened(graph: StepGraph) -> StepGraph:
    """The graph without functions, its constants folded: what formats rewrite."""
    return build(fold_constants(graph.flatten().model), graph.states)


def quantize(graph: StepGraph, format: Format, calibration: Calibration) -> Quantized:
    """Quantize every product of the graph that is worth it and whose states bear it.

    Raises NothingToQuantize when there is none; a format of the whole step UnsupportedOperators.
    """
    flat = flattened(graph)
    found, left = find(flat)
    if format.whole:
        return Quantized(format, format.rewrite(flat, found, calibration), flat, tuple(found), ())
    products = [product for product in found if product.output not in format.left]
    constants = initializers(flat.model)
    left += [left_in_float(p, constants, _COSTLY) for p in found if p.output in format.left]

    def quantized(some: Sequence[Product]) -> StepGraph:
        return format.rewrite(flat, some, calibration)

    kept = drifting(flat, products, quantized, calibration)
    left += [left_in_float(p, constants, kept[p.output]) for p in products if p.output in kept]
    chosen = tuple(product for product in products if product.output not in kept)
    if not chosen:
        raise NothingToQuantize(
            f"no product of the model can be {format.name}",
            why="; ".join(map(str, left)) or "it has no weights",
            fix="export it without quantization",
        )
    return Quantized(format, quantized(chosen), flat, chosen, tuple(left))
