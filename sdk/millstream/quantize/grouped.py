"""Weight-only with a scale for each output and each group of neighbouring inputs.

    y = sum over groups g of (x_g W_g) scale_g + bias

Inputs whose weights are small have small steps, whatever the others are. The sums of a group are scaled, not
its weights, so that kernels read the integers as they are packed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from millstream.graph import StepGraph
from millstream.quantize.calibration import Calibration
from millstream.quantize.product import Product
from millstream.quantize.rewriting import Rewriting, Rounding, rewrite
from millstream.quantize.states.storage import block
from millstream.quantize.weight_only import write_weights

#: Smaller groups cost more in scales than they save in noise.
SMALLEST = 16


def groups_of(inputs: int) -> int:
    """Into how many groups so many inputs are cut: of up to 64, all of one size, or 1."""
    size = block(inputs)
    return inputs // size if size >= SMALLEST else 1


def quantize_in_groups(
    graph: StepGraph, products: Sequence[Product], calibration: Calibration, rounding: Rounding
) -> StepGraph:
    """Store the weights of `products` as integers, those with scales (groups, channels) in groups."""
    return rewrite(graph, products, _replace, rounding)


def _replace(writing: Rewriting, product: Product) -> None:
    rounded = writing.rounded(product)
    if rounded.scale.ndim == 1:
        write_weights(writing, product)
        return
    groups, outputs = rounded.scale.shape
    values = rounded.values if product.channel else rounded.values.T
    stacked = writing.integers(f"{product.weight}.groups", values.reshape(groups, -1, outputs))
    unit = writing.constant("quantized.unit", np.array(1, np.float32))
    weight = writing.node("DequantizeLinear", [stacked, unit])
    cut = np.array([0, groups, 1, len(values) // groups], np.int64)
    shape = writing.constant(f"quantized.groups.{groups}x{cut[-1]}", cut)
    parts = writing.node("MatMul", [writing.node("Reshape", [product.activation, shape]), weight])
    scale = writing.constant(f"{product.weight}.scales", rounded.scale[:, None])
    scaled = writing.node("Mul", [parts, scale])
    axes = writing.constant("quantized.group axes", np.array([1, 2], np.int64))
    if product.bias:
        total = writing.node("ReduceSum", [scaled, axes], keepdims=0)
        writing.node("Add", [total, product.bias], product.output)
    else:
        writing.node("ReduceSum", [scaled, axes], product.output, keepdims=0)
