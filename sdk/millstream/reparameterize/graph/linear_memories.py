"""Where a step remembers one scalar linearly, m' = A m + B u, whoever wrote it down and how."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx

from millstream.reparameterize.graph import products
from millstream.reparameterize.graph.editing import View


@dataclass(frozen=True)
class LinearMemory:
    """`past` (batch, order) becomes `present` with the scalar `drive` (batch, 1).

    `node` gives `present`, `reader` is the product of `past`. `transition` (order, order) and `input_matrix`
    (order,) are float64.
    """

    node: onnx.NodeProto
    reader: onnx.NodeProto
    past: str
    drive: str
    transition: np.ndarray
    input_matrix: np.ndarray

    @property
    def present(self) -> str:
        """The name of the memory after the step."""
        return self.node.output[0]


def linear_memories(view: View) -> Iterator[LinearMemory]:
    """Every one whose past is a state and whose matrices are constant."""
    states = {pair.name for pair in view.graph.states}
    for node in view.nodes:
        found = _coarse(view, node) if node.op_type == "LinearMemory" else _written_out(view, node, states)
        if found and found.past in states:
            yield found


def _coarse(view: View, node: onnx.NodeProto) -> LinearMemory | None:
    drive, transition, input_matrix, past = node.input
    a, b = view.constant(transition), view.constant(input_matrix)
    if a is None or b is None:
        return None
    return LinearMemory(node, node, past, drive, a.astype(np.float64), b.astype(np.float64))


def _written_out(view: View, node: onnx.NodeProto, states: set[str]) -> LinearMemory | None:
    """A m + B u as a sum of two products, or as a product that adds the other."""
    if node.op_type == "Gemm" and products.addend(node):
        return _sum(view, node, node, products.addend(node), states)
    if node.op_type != "Add":
        return None
    for kept, written in (node.input, [*node.input][::-1]):
        reader = view.writers.get(kept)
        if reader and len(view.readers[kept]) == 1 and kept not in view.outputs and not _adds(view, reader):
            found = _sum(view, node, reader, written, states)
            if found:
                return found
    return None


def _sum(
    view: View, node: onnx.NodeProto, reader: onnx.NodeProto, written: str, states: set[str]
) -> LinearMemory | None:
    transition = products.weight(view, reader)
    if transition is None or reader.input[0] not in states or transition.shape[0] != transition.shape[1]:
        return None
    found = _write(view, written, len(transition))
    return found and LinearMemory(node, reader, reader.input[0], found[0], transition, found[1])


def _write(view: View, name: str, order: int) -> tuple[str, np.ndarray] | None:
    """The scalar, and B (order,), of what is written into the memory."""
    node = view.writers.get(name)
    if node is None:
        return None
    if node.op_type == "Mul":
        for factor, drive in (node.input, [*node.input][::-1]):
            b = view.constant(factor)
            if b is not None and b.size == order and _is_scalar(view, drive):
                return drive, b.astype(np.float64).reshape(-1)
        return None
    matrix = products.weight(view, node)
    # A matrix of one column reads a scalar.
    if matrix is None or matrix.shape != (order, 1) or _adds(view, node):
        return None
    return node.input[0], matrix[:, 0]


def _adds(view: View, product: onnx.NodeProto) -> bool:
    """Whether a product adds anything but zeros."""
    name = products.addend(product)
    constant = view.constant(name) if name else np.zeros(1)
    return constant is None or bool(constant.any())


def _is_scalar(view: View, name: str) -> bool:
    return len(view.shapes.get(name, ())) == 2 and view.shapes[name][1] == 1
