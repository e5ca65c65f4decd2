"""Weight-only: the weight of every product is an integer and dequantized where it is read.

    y = x DequantizeLinear(W, scale) + bias

Activations and sums stay in float. With int8 there are four times fewer bytes of weights to store and to
read, with int4 eight times.
"""

from __future__ import annotations

from collections.abc import Sequence

from millstream.graph import StepGraph, attributes
from millstream.quantize.calibration import Calibration
from millstream.quantize.filling import filled
from millstream.quantize.product import Product
from millstream.quantize.rewriting import Rewriting, Rounding, rewrite
from millstream_runtime.packing import bits_for, parts_of


def quantize_weights(
    graph: StepGraph, products: Sequence[Product], calibration: Calibration, rounding: Rounding
) -> StepGraph:
    """Store the weights of `products` as integers."""
    return rewrite(graph, products, write_weights, rounding)


def write_weights(writing: Rewriting, product: Product) -> None:
    """Write one product with an integer weight."""
    rounded = writing.rounded(product)
    activation, values = product.activation, rounded.values
    if not product.is_convolution:
        rows = values if product.channel else values.T
        shared = parts_of(bits_for(rows))
        activation, rows = filled(writing, product, rows, -(-len(rows) // shared) * shared)
        values = rows if product.channel else rows.T
    integers = writing.integers(product.weight, values)
    scale = writing.constant(f"{product.weight}.scale", rounded.scale)
    weight = writing.node("DequantizeLinear", [integers, scale], axis=product.channel)
    node = product.node
    writing.node(node.op_type, [activation, weight, *node.input[2:]], product.output, **attributes(node))
