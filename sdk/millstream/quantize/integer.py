"""Products of int8 activations and int8 weights, exact in int32, and back to float.

y = float(q W) * (activation scale * weight scale) + bias
"""

from __future__ import annotations

from functools import reduce

import numpy as np
import onnx

from millstream.graph import attributes
from millstream.quantize.product import Product
from millstream.quantize.rewriting import Rewriting


def integer_product(writing: Rewriting, product: Product, quantized: str) -> str:
    """The int32 sums of an int8 activation: MatMulInteger, or ConvInteger with the product's settings."""
    values = writing.rounded(product).values
    if product.is_convolution:
        weight = writing.integers(product.weight, values)
        return writing.node("ConvInteger", [quantized, weight], **attributes(product.node))
    weight = writing.integers(product.weight, values if product.channel else values.T)
    return writing.node("MatMulInteger", [quantized, weight])


def weight_scale(writing: Rewriting, product: Product, factor: float = 1.0) -> np.ndarray:
    """The scale of each output times `factor`, float32, in a shape that broadcasts to the outputs."""
    scale = (writing.rounded(product).scale * np.float64(factor)).astype(np.float32)
    return _along_channels(writing, product, scale)


def back_to_float(writing: Rewriting, product: Product, sums: str, *scales: str) -> None:
    """Write float(sums) * scale * ... + bias as the product's output.

    The scales are multiplied in one after the other: onnxruntime (1.31) fuses the product of two scales into
    its own kernel and then computes wrong numbers.
    """
    factors = [writing.node("Cast", [sums], to=onnx.TensorProto.FLOAT), *scales]
    if product.bias:
        scaled = reduce(lambda total, scale: writing.node("Mul", [total, scale]), factors)
        writing.node("Add", [scaled, _bias(writing, product)], product.output)
        return
    scaled = reduce(lambda total, scale: writing.node("Mul", [total, scale]), factors[:-1])
    writing.node("Mul", [scaled, factors[-1]], product.output)


def _bias(writing: Rewriting, product: Product) -> str:
    """The bias in a shape that broadcasts to the outputs."""
    array = writing.constants.get(product.bias)
    if not product.is_convolution or array is None:
        return product.bias
    return writing.constant(f"{product.bias}.spread", _along_channels(writing, product, array))


def _along_channels(writing: Rewriting, product: Product, array: np.ndarray) -> np.ndarray:
    """One number per channel, laid along the axis that counts channels in the product's output."""
    if not product.is_convolution:
        return array
    spatial = writing.constants[product.weight].ndim - 2
    return array.reshape(-1, *[1] * spatial)
