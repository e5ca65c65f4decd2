"""Quantization: rewrites from step graph to step graph that say every integer with standard operators.

The reference then defines the integers, and whatever runs ONNX can run them. One file per format; a format
rewrites the products that are worth it and leaves states, gates and everything else in float.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from millstream.errors import NothingToQuantize
from millstream.fold import fold_constants
from millstream.graph import StepGraph, build, initializers, origin
from millstream.quantize.beside import Operand, bearing, in_int16, operands
from millstream.quantize.calibration import Calibration
from millstream.quantize.formats import FORMATS, Format, format_named
from millstream.quantize.mixed import mixed
from millstream.quantize.moving import moving
from millstream.quantize.online_rotation import rotated_online
from millstream.quantize.preparing import Gain
from millstream.quantize.product import Product, Weight, find, left_in_float, unknown
from millstream.quantize.recurrence import drifting, states_read
from millstream.quantize.rotation import rotated
from millstream.quantize.sensitivity import sensitive
from millstream.quantize.smoothing import smoothed

#: Float steps with less noise once they are rounded, each made of the one before where it helps.
_PREPARING = (smoothed, rotated, rotated_online)
#: Why a product that a format leaves stays in float.
_COSTLY = "in no format does it stay within the budget"

__all__ = ["FORMATS", "Format", "Quantized", "flattened", "format_named", "quantize"]


@dataclass(frozen=True)
class Quantized:
    """A quantized step graph, the products in it that are, the constants beside them that are in int16, and
    what stays in float.

    `format` says of each product which one it got.
    `original` is the flat float graph that it was made from, `prepared` the same with smoothed or rotated
    activations, `gains` what that took from the noise.
    """

    format: Format
    graph: StepGraph
    original: StepGraph
    prepared: StepGraph
    products: tuple[Product, ...]
    beside: tuple[Operand, ...]
    left: tuple[Weight, ...]
    gains: tuple[Gain, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain values for the report."""
        constants = initializers(self.prepared.model)
        return {
            "format": self.format.name,
            "prepared": [asdict(each) for each in self.gains],
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
            "in int16": [
                {
                    "operator": each.operator,
                    "origin": each.origin,
                    "shape": list(constants[each.name].shape),
                }
                for each in self.beside
            ],
            "left in float": [{**asdict(weight), "shape": list(weight.shape)} for weight in self.left],
        }


def flattened(graph: StepGraph) -> StepGraph:
    """The graph without functions, its constants folded: what formats rewrite."""
    return build(fold_constants(graph.flatten().model), graph.states)


def quantize(graph: StepGraph, format: Format, calibration: Calibration) -> Quantized:
    """Quantize every product of the graph that is worth it and whose states and outputs bear it.

    A product whose rounding lets a state drift, or alone moves an output beyond the bound of the format, gets
    the first of the format's wider ones that is fine enough.
    Raises NothingToQuantize when there is none; a format of the whole step UnsupportedOperators.
    """
    flat = flattened(graph)
    found, left = find(flat)
    if format.whole:
        products = tuple(product for product in found if not product.is_lookup)
        return Quantized(format, format.rewrite(flat, products, calibration), flat, flat, products, (), ())
    found, still = moving(flat, found, calibration)
    left += still
    products = [product for product in found if format.of(product)]
    constants = initializers(flat.model)
    left += [left_in_float(p, constants, _COSTLY) for p in found if not format.of(p)]
    read, prepared, gains = states_read(flat, products), flat, list[Gain]()
    for method in _PREPARING:
        made = method(prepared, format, products, calibration)
        prepared, gains = made.graph, [*gains, *made.gains]
        products = _again(products, prepared)
    ways, unborne = _ways(prepared, format, products, read, calibration)
    constants = initializers(prepared.model)
    left += [left_in_float(p, constants, unborne[p.output]) for p in products if p.output in unborne]
    chosen = tuple(product for product in products if product.output in ways)
    if not chosen:
        raise NothingToQuantize(
            f"no product of the model can be {format.name}",
            why="; ".join(map(str, left)) or "it has no weights",
            fix="export it without quantization",
        )
    taken = replace(mixed(ways), name=format.name, max_error=format.max_error)
    made = taken.rewrite(prepared, chosen, calibration)
    # What a format wrote anew is no longer there, such as the bias of a convolution.
    known = {each.name for each in operands(made)}
    found_beside = [each for each in operands(prepared) if each.name in known]
    beside, still_float = bearing(prepared, found_beside, calibration)
    left += [*still_float, *unknown(prepared, {each.name for each in beside})]
    small = in_int16(made, beside)
    return Quantized(taken, small, flat, prepared, chosen, tuple(beside), tuple(left), tuple(gains))


def _ways(
    graph: StepGraph,
    format: Format,
    products: Sequence[Product],
    read: Mapping[str, str],
    calibration: Calibration,
) -> tuple[dict[str, Format], dict[str, str]]:
    """By the result of a product, its own way in the format or the first wider one that its states and the
    outputs bear; and why the others bear none. `read` are the states that products read (`states_read`)."""
    ways: dict[str, Format] = {}
    refused: dict[str, str] = {}
    rest = list(products)
    for stage in (format, *format.wider):
        trial = mixed({product.output: way for product in rest if (way := stage.of(product))})
        refused = drifting(
            graph, rest, read, lambda some, t=trial: t.rewrite(graph, some, calibration), calibration
        )
        if not format.restores:
            most = format.most_alone or format.max_error
            refused |= sensitive(graph, rest, trial, calibration, most)
        ways |= {p.output: way for p in rest if p.output not in refused and (way := trial.of(p))}
        rest = [product for product in rest if product.output in refused]
    return ways, refused


def _again(products: Sequence[Product], graph: StepGraph) -> list[Product]:
    """The same products in a graph that was prepared."""
    wanted = {product.output for product in products}
    return [product for product in find(graph)[0] if product.output in wanted]
