"""Which products may be given other weights: what they multiply can be changed before its rounding."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from millstream.graph import StepGraph
from millstream.quantize.formats import Format
from millstream.quantize.product import Product


def reweighable(graph: StepGraph, format: Format, products: Sequence[Product]) -> dict[str, list[Product]]:
    """By activation, the matrix products whose activation the format rounds and whose weights nothing else
    reads: all of `products` that read it, or none."""
    reads = Counter(name for node in graph.model.graph.node for name in node.input)
    found: dict[str, list[Product]] = {}
    for product in products:
        found.setdefault(product.activation, []).append(product)

    def takes(product: Product) -> bool:
        way = format.of(product)
        rounds = way is not None and way.rounds
        is_matrix = not (product.is_convolution or product.is_lookup)
        return rounds and is_matrix and reads[product.weight] == 1

    return {name: own for name, own in found.items() if all(map(takes, own))}
