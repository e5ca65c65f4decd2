"""A flat float graph in the few forms that fixed point knows: one node, one meaning.

Batch normalization with fixed statistics is a factor and an offset for each channel; a Gemm whose bias is an
activation is a product and an addition; a sum or mean over one axis is a product with one column; a division
is a product with an inverse, a power a square, a root or an inverse. Each value that will be rounded then has
a name that can be observed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper

from millstream.fold import fold_constants
from millstream.graph import StepGraph, attributes, build, initializers, origin, set_origin, tensor
from millstream.quantize.fixed_point.region import split

#: From here on softplus(x) is x to less than 16 bits can tell: they differ by exp(-x).
_LARGE = 15


def canonical(graph: StepGraph) -> StepGraph:
    """The same step without BatchNormalization, sums that hide in a Gemm, sums and means over one axis,
    divisions by activations, powers that have a name, and softplus in parts.

    What stays outside of fixed point stays as it is.
    """
    whole = _written(graph, _softplus)
    region, _ = split(whole)
    core = {node.output[0] for node in region.core}

    def inside(node: onnx.NodeProto, given: _Given) -> Iterator[onnx.NodeProto]:
        return _rewritten(node, given) if node.output[0] in core else iter((node,))

    return _written(whole, inside)


def _written(
    graph: StepGraph, rewrite: Callable[[onnx.NodeProto, _Given], Iterator[onnx.NodeProto]]
) -> StepGraph:
    """The graph with what `rewrite` makes of each node."""
    values = (*graph.model.graph.input, *graph.model.graph.value_info)
    shapes = {value.name: tensor(value).shape for value in values}
    makers = {name: node for node in graph.model.graph.node for name in node.output}
    given = _Given(dict(initializers(graph.model)), shapes, makers, {})
    nodes: list[onnx.NodeProto] = []
    for node in graph.model.graph.node:
        for new in rewrite(node, given):
            if new is not node:
                set_origin(new, origin(node))
            nodes.append(new)
    model = onnx.ModelProto()
    model.CopyFrom(graph.model)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    added = given.added.items()
    model.graph.initializer.extend(onnx.numpy_helper.from_array(array, name) for name, array in added)
    return build(fold_constants(model), graph.states)


@dataclass(frozen=True)
class _Given:
    """What is known of a graph: its constants, shapes, and the node that makes each value; and constants that
    are added to it."""

    constants: Mapping[str, np.ndarray]
    shapes: Mapping[str, tuple[int | None, ...]]
    makers: Mapping[str, onnx.NodeProto]
    added: dict[str, np.ndarray]


def _softplus(node: onnx.NodeProto, given: _Given) -> Iterator[onnx.NodeProto]:
    if node.op_type == "Where" and _is_softplus(node, given):
        yield onnx.helper.make_node("Softplus", [node.input[1]], [node.output[0]])
    else:
        yield node


def _rewritten(node: onnx.NodeProto, given: _Given) -> Iterator[onnx.NodeProto]:
    constants = given.constants
    if node.op_type == "BatchNormalization" and all(name in constants for name in node.input[1:]):
        yield from _normalization(node, given)
    elif node.op_type == "Gemm" and len(node.input) > 2 and node.input[2] not in {"", *constants}:
        yield from _gemm(node)
    elif node.op_type in ("ReduceMean", "ReduceSum"):
        yield from _reduction(node, given)
    elif node.op_type == "Div" and not any(name in constants for name in node.input):
        yield from _division(node)
    elif node.op_type == "Pow" and node.input[1] in constants:
        yield from _power(node, constants[node.input[1]])
    else:
        yield node


def _normalization(node: onnx.NodeProto, given: _Given) -> Iterator[onnx.NodeProto]:
    """y = x * (gain / sqrt(variance + epsilon)) + (shift - mean * the same), over axis 1 of (B, C)."""
    gain, shift, mean, variance = (given.constants[name].astype(np.float64) for name in node.input[1:])
    factor = gain / np.sqrt(variance + attributes(node).get("epsilon", 1e-5))
    output = node.output[0]
    factor_name, offset_name, scaled = (f"{output}.{part}" for part in ("factor", "offset", "scaled"))
    given.added[factor_name] = factor.astype(np.float32)
    given.added[offset_name] = (shift - mean * factor).astype(np.float32)
    yield onnx.helper.make_node("Mul", [node.input[0], factor_name], [scaled])
    yield onnx.helper.make_node("Add", [scaled, offset_name], [output])


def _reduction(node: onnx.NodeProto, given: _Given) -> Iterator[onnx.NodeProto]:
    """One axis, brought to the end, times a column of ones, or of one part each.

    Over several axes it stays as it is.
    """
    axes = given.constants.get(node.input[1]) if len(node.input) > 1 else None
    shape = given.shapes.get(node.input[0], ())
    rank = len(shape)
    axis = int(axes.item()) % rank if rank and axes is not None and axes.size == 1 else 0
    length = shape[axis] if axis else None
    if length is None:
        yield node
        return
    output, source = node.output[0], node.input[0]
    if axis != rank - 1:
        order = [*range(axis), *range(axis + 1, rank), axis]
        source = f"{output}.turned"
        yield onnx.helper.make_node("Transpose", [node.input[0]], [source], perm=order)
    column, kept = f"{output}.column", f"{output}.kept"
    share = 1.0 if node.op_type == "ReduceSum" else 1 / length
    given.added[column] = np.full((length, 1), share, np.float32)
    keeps = bool(attributes(node).get("keepdims", 1))
    if keeps and axis == rank - 1:
        yield onnx.helper.make_node("MatMul", [source, column], [output])
        return
    yield onnx.helper.make_node("MatMul", [source, column], [kept])
    if keeps:
        order = [*range(axis), rank - 1, *range(axis, rank - 1)]
        yield onnx.helper.make_node("Transpose", [kept], [output], perm=order)
        return
    last = f"{output}.last"
    given.added[last] = np.array([-1])
    yield onnx.helper.make_node("Squeeze", [kept, last], [output])


def _division(node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
    inverse = f"{node.output[0]}.inverse"
    yield onnx.helper.make_node("Reciprocal", [node.input[1]], [inverse])
    yield onnx.helper.make_node("Mul", [node.input[0], inverse], [node.output[0]])


def _power(node: onnx.NodeProto, exponent: np.ndarray) -> Iterator[onnx.NodeProto]:
    """x^2, x^1/2, 1/x, and the inverse of the root; the node itself for any other exponent."""
    x, output, root = node.input[0], node.output[0], f"{node.output[0]}.root"
    match exponent.item() if exponent.size == 1 else None:
        case 2:
            yield onnx.helper.make_node("Mul", [x, x], [output])
        case 0.5:
            yield onnx.helper.make_node("Sqrt", [x], [output])
        case -1:
            yield onnx.helper.make_node("Reciprocal", [x], [output])
        case -0.5:
            yield onnx.helper.make_node("Sqrt", [x], [root])
            yield onnx.helper.make_node("Reciprocal", [root], [output])
        case _:
            yield node


def _is_softplus(node: onnx.NodeProto, given: _Given) -> bool:
    """x where x is large, and softplus(x) elsewhere: what PyTorch writes, for floats that would overflow."""
    condition, _, rest = (given.makers.get(name) for name in node.input)
    if condition is None or rest is None or condition.op_type != "Greater" or rest.op_type != "Softplus":
        return False
    level = given.constants.get(condition.input[1])
    same = condition.input[0] == node.input[1] == rest.input[0]
    return same and level is not None and level.size == 1 and float(level.item()) >= _LARGE


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
