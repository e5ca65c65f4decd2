"""Quantization: rewrites from step graph to step graph that say every integer with standard operators.

The reference then defines the integers, and whatever runs ONNX can run them. One file per format; a format
rewrites the products that are worth it and leaves states, gates and everything else in float.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from millstream.errors import NothingToQuantize
from millstream.fold import fold_constants
from millstream.graph import StepGraph, build, initializers, origin
from millstream.quantize.calibration import Calibration
from millstream.quantize.formats import FORMATS, Format, format_named
from millstream.quantize.mixed import mixed
from millstream.quantize.online_rotation import rotated_online
from millstream.quantize.product import Product, Weight, find, left_in_float
from millstream.quantize.recurrence import drifting, states_read
from millstream.quantize.rotation import rotated
from millstream.quantize.smoothing import smoothed

#: What a product gets whose rounding in a format lets a state drift.
_WIDE = FORMATS["w16"]
#: Float steps with less noise once they are rounded, each made of the one before where it helps.
_PREPARING = (smoothed, rotated, rotated_online)
#: Why a product that a format leaves stays in float.
_COSTLY = "in no format does it stay within the budget"

__all__ = ["FORMATS", "Format", "Quantized", "flattened", "format_named", "quantize"]


@dataclass(frozen=True)
class Quantized:
    """A quantized step graph, the products in it that are, and the weights that stay in float.

    `format` says of each product which one it got.
    `original` is the flat float graph that it was made from, `prepared` the same with smoothed or rotated
    activations.
    """

    format: Format
    graph: StepGraph
    original: StepGraph
    prepared: StepGraph
    products: tuple[Product, ...]
    left: tuple[Weight, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values for the report."""
        constants = initializers(self.prepared.model)
        return {
            "format": self.format.name,
            "quantized": [
                {
                    "operator": product.node.op_type,
                    "origin": origin(product.node),
                    "shape": list(constants[product.weight].shape),
                    "format": way.name,
                }
                for product in self.products
                if (way := self.format.of(product))
            ],
            "left in float": [{**asdict(weight), "shape": list(weight.shape)} for weight in self.left],
        }


def flattened(graph: StepGraph) -> StepGraph:
    """The graph without functions, its constants folded: what formats rewrite."""
    return build(fold_constants(graph.flatten().model), graph.states)


def quantize(graph: StepGraph, format: Format, calibration: Calibration) -> Quantized:
    """Quantize every product of the graph that is worth it and whose states bear it.

    A product whose rounding lets a state drift gets weights in int16, where these are fine enough.
    Raises NothingToQuantize when there is none; a format of the whole step UnsupportedOperators.
    """
    flat = flattened(graph)
    found, left = find(flat)
    if format.whole:
        return Quantized(format, format.rewrite(flat, found, calibration), flat, flat, tuple(found), ())
    products = [product for product in found if format.of(product)]
    constants = initializers(flat.model)
    left += [left_in_float(p, constants, _COSTLY) for p in found if not format.of(p)]
    read, prepared = states_read(flat, products), flat
    for method in _PREPARING:
        prepared = method(prepared, format, products, calibration)
        products = _again(products, prepared)

    def drifts_in(way: Format, some: Sequence[Product]) -> dict[str, str]:
        return drifting(
            prepared, some, read, lambda own: way.rewrite(prepared, own, calibration), calibration
        )

    drifts = drifts_in(format, products)
    wide = [product for product in products if product.output in drifts]
    kept = drifts_in(_WIDE, wide)
    left += [left_in_float(p, constants, drifts[p.output]) for p in wide if p.output in kept]
    chosen = tuple(product for product in products if product.output not in kept)
    if not chosen:
        raise NothingToQuantize(
            f"no product of the model can be {format.name}",
            why="; ".join(map(str, left)) or "it has no weights",
            fix="export it without quantization",
        )
    ways = {p.output: _WIDE if p.output in drifts else format.of(p) for p in chosen}
    taken = replace(
        mixed({output: way for output, way in ways.items() if way}),
        name=format.name,
        max_error=format.max_error,
    )
    made = taken.rewrite(prepared, chosen, calibration)
    return Quantized(taken, made, flat, prepared, chosen, tuple(left))


def _again(products: Sequence[Product], graph: StepGraph) -> list[Product]:
    """The same products in a graph that was prepared."""
    wanted = {product.output for product in products}
    return [product for product in find(graph)[0] if product.output in wanted]
