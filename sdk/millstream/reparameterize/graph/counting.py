"""What a step graph costs: counted as `millstream.reparameterize.cost` counts a module."""

from __future__ import annotations

import math
from collections.abc import Callable

import onnx

from millstream.graph import StepGraph, initializers
from millstream.reparameterize.graph.editing import View
from millstream.reparameterize.report import Cost

_Shape = tuple[int, ...]


def cost(graph: StepGraph) -> Cost:
    """Numbers of floating point that the graph holds, and the MACs of one step of one stream.

    What a node without a known shape computes is not counted.
    """
    view = View(graph.specialize(1))
    arrays = [array for array in initializers(graph.model).values() if array.dtype.kind == "f"]
    macs = sum(_macs(node, view) for node in view.nodes)
    return Cost(sum(array.size for array in arrays), macs)


def _macs(node: onnx.NodeProto, view: View) -> int:
    count = _COUNTS.get(node.op_type)
    if count is None:
        return 0
    names = [name for name in (*node.input, *node.output) if name]
    if any(name not in view.shapes for name in names):
        return 0
    shapes = [_known(view, name) for name in (*node.input, *node.output)]
    return count(node, shapes, _known(view, node.output[0]))


def _known(view: View, name: str) -> _Shape:
    """The shape of a value; that of an input which is left out is empty."""
    return tuple(extent or 1 for extent in view.shapes.get(name, ()))


def _attribute(node: onnx.NodeProto, name: str) -> int:
    return next((attribute.i for attribute in node.attribute if attribute.name == name), 0)


def _gemm(node: onnx.NodeProto, shapes: list[_Shape], y: _Shape) -> int:
    return math.prod(y) * shapes[0][0 if _attribute(node, "transA") else 1]


_COUNTS: dict[str, Callable[[onnx.NodeProto, list[_Shape], _Shape], int]] = {
    "Gemm": _gemm,
    "MatMul": lambda node, shapes, y: math.prod(y) * shapes[0][-1],
    "Conv": lambda node, shapes, y: math.prod(y) * math.prod(shapes[1][1:]),
    "ConvTranspose": lambda node, shapes, y: math.prod(shapes[0]) * math.prod(shapes[1][1:]),
    "BatchNormalization": lambda node, shapes, y: math.prod(y),
    "LayerNormalization": lambda node, shapes, y: math.prod(y) * 4,
    "Mul": lambda node, shapes, y: math.prod(y),
    "Div": lambda node, shapes, y: math.prod(y),
    "CausalConvRing": lambda node, shapes, y: math.prod(shapes[1]),
    "LinearMemory": lambda node, shapes, y: math.prod(shapes[1]) + math.prod(shapes[2]),
}
