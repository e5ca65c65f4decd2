"""A flat float graph in the few forms that fixed point knows: one node, one meaning.

Batch normalization with fixed statistics is a factor and an offset for each channel; a Gemm whose bias is an
activation is a product and an addition; a sum or mean over the last axis is a product with one column. Each
value that will be rounded then has a name that can be observed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper

from millstream.graph import StepGraph, build, initializers, origin, set_origin, tensor
from millstream.quantize.product import attributes


def canonical(graph: StepGraph) -> StepGraph:
    """The same step without BatchNormalization, sums that hide in a Gemm, and sums and means over the last
    axis."""
    constants = dict(initializers(graph.model))
    values = (*graph.model.graph.input, *graph.model.graph.value_info)
    shapes = {value.name: tensor(value).shape for value in values}
    added: dict[str, np.ndarray] = {}
    nodes: list[onnx.NodeProto] = []
    for node in graph.model.graph.node:
        for new in _rewritten(node, constants, added, shapes):
            if new is not node:
                set_origin(new, origin(node))
            nodes.append(new)
    model = onnx.ModelProto()
    model.CopyFrom(graph.model)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(onnx.numpy_helper.from_array(a, name) for name, a in added.items())
    return build(model, graph.states)


def _rewritten(
    node: onnx.NodeProto,
    constants: Mapping[str, np.ndarray],
    added: dict[str, np.ndarray],
    shapes: Mapping[str, tuple[int | None, ...]],
) -> Iterator[onnx.NodeProto]:
    if node.op_type == "BatchNormalization" and all(name in constants for name in node.input[1:]):
        yield from _normalization(node, constants, added)
    elif node.op_type == "Gemm" and len(node.input) > 2 and node.input[2] not in {"", *constants}:
        yield from _gemm(node)
    elif node.op_type in ("ReduceMean", "ReduceSum"):
        yield from _reduction(node, constants, added, shapes.get(node.input[0], ()))
    else:
        yield node


def _normalization(
    node: onnx.NodeProto, constants: Mapping[str, np.ndarray], added: dict[str, np.ndarray]
) -> Iterator[onnx.NodeProto]:
    """y = x * (gain / sqrt(variance + epsilon)) + (shift - mean * the same), over axis 1 of (B, C)."""
    gain, shift, mean, variance = (constants[name].astype(np.float64) for name in node.input[1:])
    factor = gain / np.sqrt(variance + attributes(node).get("epsilon", 1e-5))
    output = node.output[0]
    factor_name, offset_name, scaled = (f"{output}.{part}" for part in ("factor", "offset", "scaled"))
    added[factor_name] = factor.astype(np.float32)
    added[offset_name] = (shift - mean * factor).astype(np.float32)
    yield onnx.helper.make_node("Mul", [node.input[0], factor_name], [scaled])
    yield onnx.helper.make_node("Add", [scaled, offset_name], [output])


def _reduction(
    node: onnx.NodeProto,
    constants: Mapping[str, np.ndarray],
    added: dict[str, np.ndarray],
    shape: tuple[int | None, ...],
) -> Iterator[onnx.NodeProto]:
    """The last axis times a column of ones, or of one part each; the node itself over any other axis."""
    axes = constants.get(node.input[1]) if len(node.input) > 1 else None
    rank, length = len(shape), shape[-1] if shape else None
    if rank < 2 or length is None or axes is None or [int(axis) % rank for axis in axes] != [rank - 1]:
        yield node
        return
    output = node.output[0]
    column, kept = f"{output}.column", f"{output}.kept"
    share = 1.0 if node.op_type == "ReduceSum" else 1 / length
    added[column] = np.full((length, 1), share, np.float32)
    if attributes(node).get("keepdims", 1):
        yield onnx.helper.make_node("MatMul", [node.input[0], column], [output])
        return
    yield onnx.helper.make_node("MatMul", [node.input[0], column], [kept])
    yield onnx.helper.make_node("Squeeze", [kept, node.input[1]], [output])


def _gemm(node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
    if attributes(node).get("beta", 1.0) != 1:
        yield node
        return
    product = onnx.NodeProto()
    product.CopyFrom(node)
    del product.input[2:]
    product.output[0] = f"{node.output[0]}.product"
    yield product
    yield onnx.helper.make_node("Add", [product.output[0], node.input[2]], [node.output[0]])
