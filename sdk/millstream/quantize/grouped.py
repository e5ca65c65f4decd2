"""Weight-only with a scale for each output and each group of neighbouring inputs.

    y = scale * sum over groups g of factor_g (x_g W_g) + bias

Inputs whose weights are small have small steps, whatever the others are. Factors are whole numbers of 8
bits, so that a group costs a byte. The sums of a group are scaled, not its weights, so that kernels read the
integers as they are packed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from millstream.graph import StepGraph
from millstream.quantize.calibration import Calibration
from millstream.quantize.filling import filled
from millstream.quantize.product import Product
from millstream.quantize.rewriting import Rewriting, Rounding, rewrite
from millstream.quantize.rounding import size_of_groups
from millstream.quantize.weight_only import write_weights

#: Inputs that share a factor, at most.
LARGEST_GROUP = 64


def groups_of(inputs: int) -> int:
    """Into how many groups so many inputs are cut."""
    return -(-inputs // LARGEST_GROUP)


def quantize_in_groups(
    graph: StepGraph, products: Sequence[Product], calibration: Calibration, rounding: Rounding
) -> StepGraph:
    """Store the weights of `products` as integers, those with factors in groups."""
    return rewrite(graph, products, _replace, rounding)


def _replace(writing: Rewriting, product: Product) -> None:
    rounded = writing.rounded(product)
    if rounded.factors is None:
        write_weights(writing, product)
        return
    groups, outputs = rounded.factors.shape
    rows = rounded.values if product.channel else rounded.values.T
    size = size_of_groups(len(rows), groups)
    activation, rows = filled(writing, product, rows, groups * size)
    stacked = writing.integers(f"{product.weight}.groups", rows.reshape(groups, size, outputs))
    unit = writing.constant("quantized.unit", np.array(1, np.float32))
    weight = writing.node("DequantizeLinear", [stacked, unit])
    cut = np.array([0, groups, 1, size], np.int64)
    shape = writing.constant(f"quantized.groups.{groups}x{size}", cut)
    parts = writing.node("MatMul", [writing.node("Reshape", [activation, shape]), weight])
    whole = writing.constant(f"{product.weight}.factors", rounded.factors[:, None])
    # Dequantized, as what is cast would be folded into floats.
    factors = writing.node("DequantizeLinear", [whole, unit])
    axes = writing.constant("quantized.group axes", np.array([1, 2], np.int64))
    total = writing.node("ReduceSum", [writing.node("Mul", [parts, factors]), axes], keepdims=0)
    scale = writing.constant(f"{product.weight}.scale", rounded.scale)
    if product.bias:
        scaled = writing.node("Mul", [total, scale])
        writing.node("Add", [scaled, product.bias], product.output)
    else:
        writing.node("Mul", [total, scale], product.output)
