"""Tables of integers, of which a row is looked up and scaled back.

    y = float(table[i]) * scale[i]

Every row has a scale of its own, that of its largest value. A row is read alone: no sum averages its noise,
and all that follows sees it, so a table has no fewer than 8 bits in any format.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx

from millstream.quantize.product import Product

if TYPE_CHECKING:
    from millstream.quantize.rewriting import Rewriting


def write_lookup(writing: Rewriting, product: Product) -> None:
    """Write a lookup in a table of integers."""
    rounded = writing.rounded(product)
    values = writing.integers(product.weight, rounded.values)
    scales = writing.constant(f"{product.weight}.row scales", rounded.scale[:, None])
    row = writing.node("Gather", [values, product.activation])
    scale = writing.node("Gather", [scales, product.activation])
    wide = writing.node("Cast", [row], to=onnx.TensorProto.FLOAT)
    writing.node("Mul", [wide, scale], product.output)
