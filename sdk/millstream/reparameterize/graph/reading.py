"""The one product, or the one norm, that reads a vector of the step: alone, or side by side with others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from millstream.reparameterize.graph import products
from millstream.reparameterize.graph.batch_norm import affine, is_constant
from millstream.reparameterize.graph.editing import View


@dataclass(frozen=True)
class Reading:
    """y = weight x + bias + beside_weight [beside], all that is made of x.

    `node` gives y. `weight` (width, order), `bias` (width,) and `beside_weight` (width, others) are float64;
    `beside` names the values (batch, ...) that stand beside x, in order.
    """

    node: onnx.NodeProto
    weight: np.ndarray
    bias: np.ndarray
    beside: tuple[str, ...]
    beside_weight: np.ndarray


def reading(view: View, name: str, readers: Sequence[onnx.NodeProto]) -> Reading | None:
    """What the `readers` of the vector `name` (batch, order) make of it, when it is one product."""
    if len(readers) != 1:
        return None
    (node,) = readers
    if node.op_type == "Concat":
        return _side_by_side(view, name, node)
    return _alone(view, name, node)


def _alone(view: View, name: str, node: onnx.NodeProto) -> Reading | None:
    if node.input[0] != name:
        return None
    if is_constant(view, node):
        scale, shift = affine(view, node)
        return Reading(node, np.diag(scale), shift, (), np.zeros((len(scale), 0)))
    product = products.affine(view, node)
    return product and Reading(node, *product, (), np.zeros((len(product[0]), 0)))


def _side_by_side(view: View, name: str, concat: onnx.NodeProto) -> Reading | None:
    operands, joined = list(concat.input), concat.output[0]
    readers = view.readers.get(joined, ())
    if operands.count(name) != 1 or joined in view.outputs or len(readers) != 1:
        return None
    product = products.affine(view, readers[0]) if readers[0].input[0] == joined else None
    shapes = [view.shapes.get(operand, ()) for operand in operands]
    if product is None or any(len(shape) != 2 or shape[1] is None for shape in shapes):
        return None
    weight, bias = product
    ends = np.cumsum([shape[1] or 0 for shape in shapes])[:-1].tolist()
    columns = np.split(weight, ends, axis=1)
    at = operands.index(name)
    beside = columns[:at] + columns[at + 1 :]
    others = tuple(operands[:at] + operands[at + 1 :])
    return Reading(readers[0], columns[at], bias, others, np.concatenate(beside, axis=1))
