"""Sums that are filled up with products of zeros.

Kernels put several weights into one byte by cutting a sum into as many parts of one length: see
`millstream.targets.packed_weights`. A sum of 95 has no halves; with a zero behind it is one of 96.
"""

from __future__ import annotations

import numpy as np

from millstream.quantize.product import Product
from millstream.quantize.rewriting import Rewriting


def filled(writing: Rewriting, product: Product, values: np.ndarray, inputs: int) -> tuple[str, np.ndarray]:
    """The activation (..., n) of a matrix product and its integers (n, outputs), with zeros up to so many
    inputs."""
    missing = inputs - len(values)
    if not missing:
        return product.activation, values
    pads = writing.constant(f"quantized.fill.{missing}", np.array([0, missing], np.int64))
    zero = writing.constant("quantized.fill", np.array(0, np.float32))
    last = writing.constant("quantized.last", np.array([-1], np.int64))
    longer = writing.node("Pad", [product.activation, pads, zero, last])
    return longer, np.pad(values, ((0, missing), (0, 0)))
