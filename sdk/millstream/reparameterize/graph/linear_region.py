"""Operators that compute one linear map of one vector become one product, whatever they are.

y = f(x) with f built of products by constants, sums, scales and moves alone is y = M x + c: c is f(0) and
the columns of M are f of the unit vectors less c, computed by the reference in float64. So an attention
whose query is a learned constant (Aaren) needs d multiplications per head for its score, w = Wk^T q, where
it projected keys of the head's width first; adapters, low-rank updates and pairs of layers inside a step
collapse in the same way.

Needs: one vector (batch, d) that all operands come from, every other operand constant, nothing across the
batch. Gives: one product, kept where that is fewer multiplications.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper

from millstream.graph import StepGraph, origin, set_origin
from millstream.reference import evaluate
from millstream.reparameterize.graph.editing import GraphCandidate, View, edited, place

_FLOAT = onnx.TensorProto.FLOAT
_SUMS = ("Add", "Sub", "Concat")
_SCALES = ("Mul", "Div")
_PRODUCTS = ("Gemm", "MatMul")
_MOVES = ("Reshape", "Unsqueeze", "Squeeze", "Flatten", "Transpose", "Slice", "Identity", "Neg", "ReduceSum")
_PROBE = 7


def linear_region(graph: StepGraph) -> Iterable[GraphCandidate]:
    """Every value that two or more products and scales compute as a linear map of one vector."""
    view = View(graph)
    regions = _regions(view)
    for name, (source, nodes) in regions.items():
        work = [node for node in nodes if node.op_type in (*_PRODUCTS, *_SCALES, "BatchNormalization")]
        ends = name in view.outputs or any(
            regions.get(output, ("", ()))[0] != source
            for reader in view.readers.get(name, ())
            for output in reader.output
        )
        if ends and len(work) > 1 and any(node.op_type in _PRODUCTS for node in work):
            where = ", ".join(dict.fromkeys(place(node) for node in work))
            yield GraphCandidate(where, lambda n=name, s=source, r=nodes: _collapsed(view, n, s, r))


_Region = tuple[str, tuple[onnx.NodeProto, ...]]


def _regions(view: View) -> dict[str, _Region]:
    """Every value that is a linear map: of which vector, and by which nodes, in order."""
    found: dict[str, _Region] = {}
    for node in view.nodes:
        operands = list(_operands(view, node))
        if len(node.output) != 1 or not operands or not _is_linear(view, node, operands):
            continue
        parts = [found.get(name, (name, ())) for name in operands]
        sources = {source for source, _ in parts}
        source = next(iter(sources))
        if len(sources) == 1 and _is_vector(view, source) and node.output[0] in view.shapes:
            nodes = {id(each): each for _, region in parts for each in region} | {id(node): node}
            order = [each for each in view.nodes if id(each) in nodes]
            found[node.output[0]] = (source, tuple(order))
    return found


def _operands(view: View, node: onnx.NodeProto) -> Iterator[str]:
    """What a node reads that is not constant."""
    yield from (name for name in node.input if name and name not in view.constants)


def _is_linear(view: View, node: onnx.NodeProto, operands: list[str]) -> bool:
    if any(view.kinds.get(name) != _FLOAT for name in (*operands, *node.output)):
        return False
    if node.op_type in _SUMS:
        return _axis_is_not_batch(view, node)
    if node.op_type in (*_MOVES, "BatchNormalization", "Split"):
        return operands == [node.input[0]] and _keeps_batch(view, node)
    if node.op_type == "Div":
        return operands == [node.input[0]]
    if node.op_type == "Mul":
        return len(operands) == 1
    return node.op_type in _PRODUCTS and operands == [node.input[0]]


def _axis_is_not_batch(view: View, node: onnx.NodeProto) -> bool:
    if node.op_type != "Concat":
        return True
    return next(a.i for a in node.attribute if a.name == "axis") != 0


def _keeps_batch(view: View, node: onnx.NodeProto) -> bool:
    """Whether the first axis of the result is still the batch, as far as shapes tell; the proof tells all."""
    before, after = view.shapes.get(node.input[0], ()), view.shapes.get(node.output[0], ())
    return bool(before) and bool(after) and before[0] == after[0]


def _is_vector(view: View, name: str) -> bool:
    shape = view.shapes.get(name, ())
    return len(shape) == 2 and shape[1] is not None and view.kinds.get(name) == _FLOAT


def _collapsed(view: View, name: str, source: str, nodes: tuple[onnx.NodeProto, ...]) -> StepGraph:
    width, shape = view.shapes[source][1] or 0, view.shapes[name]
    matrix, constant = _probed(view, name, source, nodes, width)
    operands = [source, view.fresh(f"{name}.matrix")]
    added: dict[str, np.ndarray] = {operands[-1]: matrix.astype(np.float32)}
    if constant.any():
        operands.append(view.fresh(f"{name}.constant"))
        added[operands[-1]] = constant.astype(np.float32)
    flat = name if len(shape) == 2 else view.fresh(f"{name}.flat")
    product = onnx.helper.make_node("Gemm", operands, [flat], name=f"{flat} node", transB=1)
    made = [product]
    if flat != name:
        form = view.fresh(f"{name}.shape")
        added[form] = np.array([-1, *(extent or 1 for extent in shape[1:])], np.int64)
        made.append(onnx.helper.make_node("Reshape", [flat, form], [name], name=f"{name} node"))
    last = nodes[-1]
    for node in made:
        set_origin(node, origin(last))
    written = next(node for node in view.nodes if name in node.output)
    rest = [each for node in view.nodes for each in (made if node is written else [node])]
    return edited(view.graph, rest, added)


def _probed(
    view: View, name: str, source: str, nodes: tuple[onnx.NodeProto, ...], width: int
) -> tuple[np.ndarray, np.ndarray]:
    """M (out, width) and c (out,) of the region, by running it on zero and on every unit vector."""
    names = {each for node in nodes for each in node.input if each in view.constants}
    constants = [onnx.numpy_helper.from_array(_exact(view.constants[each]), each) for each in names]
    given = onnx.helper.make_tensor_value_info(source, onnx.TensorProto.DOUBLE, [None, width])
    wanted = onnx.ValueInfoProto(name=name)
    graph = onnx.helper.make_graph(list(nodes), "region", [given], [wanted], constants)
    model = onnx.helper.make_model(graph, opset_imports=view.graph.model.opset_import)
    rows = np.concatenate((np.zeros((1, width)), np.eye(width)))
    y = evaluate(model, {source: rows})[name].reshape(width + 1, -1)
    return (y[1:] - y[0]).T, y[0]


def _exact(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float64) if array.dtype == np.float32 else array
