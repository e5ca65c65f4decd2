"""The products with constant weights in a step graph: what quantization is about.

A product is y = x W + bias (MatMul, Gemm), a convolution, or a row that is looked up in a table (Gather),
which is the product of a one at the row's place with the table. Whatever else holds weights is found too, so
that nothing stays in float without a reason being told.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, replace

import numpy as np
import onnx
import onnx.helper

from millstream.graph import StepGraph, attributes, initializers, origin

#: Integer sums that are shorter, with fewer outputs or with fewer weights, cost more than they save.
SHORTEST = 16
FEWEST_WEIGHTS = 1024
#: Below this the nodes of a weight take more bytes than its integers save.
FEWEST_INTEGERS = 256
_SCALE_BYTES, _FLOAT_BYTES = 4, 4


@dataclass(frozen=True)
class Product:
    """One node that multiplies an activation by a constant weight.

    `channel` is the axis of the weight that counts the outputs, and the rows of a table; the scale of a
    weight is one per channel. `bias` is empty when there is none. A `small` one is worth integer weights, but
    no integer sums.
    """

    node: onnx.NodeProto
    activation: str
    weight: str
    channel: int
    bias: str
    small: bool = False

    @property
    def output(self) -> str:
        """The name of the result."""
        return self.node.output[0]

    @property
    def is_convolution(self) -> bool:
        """Whether the weight is (outputs, inputs of a group, *kernel) and slides."""
        return self.node.op_type == "Conv"

    @property
    def is_lookup(self) -> bool:
        """Whether the weight is a table (rows, width) and the activation counts its rows, in integers."""
        return self.node.op_type == "Gather"


@dataclass(frozen=True)
class Weight:
    """A weight that stays in float: the operator that reads it, the module it is of, its shape, and why."""

    operator: str
    origin: str
    shape: tuple[int, ...]
    why: str

    def __str__(self) -> str:
        place = f" of {self.origin}" if self.origin else ""
        return f"{self.operator}{place} {self.shape}: {self.why}"


def find(graph: StepGraph) -> tuple[list[Product], list[Weight]]:
    """The products of a flat, folded graph that are worth quantizing, and the weights of the others."""
    constants = initializers(graph.model)
    products: list[Product] = []
    left: list[Weight] = []
    for node in graph.model.graph.node:
        product = _product(node, constants)
        if product is None:
            continue
        weight = constants[product.weight]
        why = _obstacle(product, weight)
        if why:
            left.append(left_in_float(product, constants, why))
        else:
            products.append(replace(product, small=_is_small(product, weight)))
    return products, left


def unknown(graph: StepGraph, known: Container[str]) -> list[Weight]:
    """Every large constant that no product multiplies and that is not `known` by name."""
    constants = initializers(graph.model)
    return [
        Weight(node.op_type, origin(node), constants[name].shape, f"no format quantizes it in {node.op_type}")
        for node in graph.model.graph.node
        if _product(node, constants) is None
        for name in node.input
        if name in constants and name not in known and _is_large(constants[name])
    ]


def left_in_float(product: Product, constants: Mapping[str, np.ndarray], why: str) -> Weight:
    """What is told of a product that is not quantized."""
    shape = constants[product.weight].shape
    return Weight(product.node.op_type, origin(product.node), shape, why)


def _product(node: onnx.NodeProto, constants: Mapping[str, np.ndarray]) -> Product | None:
    """The node as a product, or None when it is none with a constant weight."""
    if node.op_type == "Gather" and node.domain in ("", "ai.onnx"):
        return _lookup(node, constants)
    if node.op_type not in ("MatMul", "Gemm", "Conv") or node.domain not in ("", "ai.onnx"):
        return None
    activation, weight, *rest = node.input
    if weight not in constants or activation in constants or constants[weight].ndim < 2:
        return None
    from_end = 2 if attributes(node).get("transB", 0) else 1
    channel = 0 if node.op_type == "Conv" else constants[weight].ndim - from_end
    return Product(node, activation, weight, channel, rest[0] if rest else "")


def _lookup(node: onnx.NodeProto, constants: Mapping[str, np.ndarray]) -> Product | None:
    """The node as rows of a float table that are looked up, or None."""
    table, place = node.input
    array = constants.get(table)
    if array is None or array.dtype.kind != "f" or array.ndim != 2 or attributes(node).get("axis", 0):
        return None
    return None if place in constants else Product(node, place, table, 0, "")


def _obstacle(product: Product, weight: np.ndarray) -> str:
    """Why the product stays in float; empty when it need not."""
    given = attributes(product.node)
    outputs = weight.shape[product.channel]
    inputs = weight.size // outputs
    if weight.dtype != np.float32:
        return f"its weight is {weight.dtype}"
    if not np.isfinite(weight).all():
        return "its weight holds NaN or infinity"
    if weight.size < FEWEST_INTEGERS or 2 * (inputs + _SCALE_BYTES) > inputs * _FLOAT_BYTES:
        return f"too small: {weight.size} weights, sums of {inputs}, {outputs} outputs"
    if not product.is_convolution and weight.ndim != 2:
        return "a stack of matrices"
    scaled = given.get("alpha", 1.0) != 1 or (product.bias and given.get("beta", 1.0) != 1)
    if scaled or given.get("transA", 0):
        return "a Gemm with a factor, or whose activation is transposed"
    return ""


def _is_small(product: Product, weight: np.ndarray) -> bool:
    outputs = weight.shape[product.channel]
    return min(outputs, weight.size // outputs) < SHORTEST or weight.size < FEWEST_WEIGHTS


def _is_large(array: np.ndarray) -> bool:
    return array.dtype.kind == "f" and array.size >= FEWEST_WEIGHTS
