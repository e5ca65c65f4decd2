"""What does not depend on the frame is computed once: gate bounds, and branches that do nothing.

HGRN's bounds are a softmax and a running sum over a learned table: constants. With them f = lb + (1 - lb)
sigmoid(z) loses a bound of 0 (x * 1 + 0 is x), and a gate whose bound is 1 is constant: 0 * sigmoid(z) is 0
whatever z is, so the projection that computes z is dead.

Needs: operands that are constant; a zero times what is bounded, as 0 times infinity is no zero. Gives:
fewer nodes, and no branch that nothing depends on.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx

from millstream.fold import fold_constants
from millstream.graph import StepGraph
from millstream.reparameterize.graph.editing import GraphCandidate, View, edited, place, renamed

_BOUNDED = ("Sigmoid", "HardSigmoid", "Tanh", "Softmax", "Softsign", "Sin", "Cos", "Erf")
_NEUTRAL = {"Mul": 1, "Div": 1, "Add": 0, "Sub": 0}


def constants(graph: StepGraph) -> Iterable[GraphCandidate]:
    """Nodes of constants all at once; then each operation that does nothing, and each gate that is shut."""
    folded = fold_constants(graph.model)
    gone = len(graph.model.graph.node) - len(folded.graph.node)
    if gone:
        yield GraphCandidate(f"{gone} nodes of constants", lambda: _rebuilt(graph, folded))
    view = View(graph)
    for node in view.nodes:
        found = _candidate(view, node)
        if found:
            yield found


def _rebuilt(graph: StepGraph, folded: onnx.ModelProto) -> StepGraph:
    arrays = {item.name: onnx.numpy_helper.to_array(item) for item in folded.graph.initializer}
    return edited(graph, list(folded.graph.node), arrays)


def _candidate(view: View, node: onnx.NodeProto) -> GraphCandidate | None:
    neutral = _NEUTRAL.get(node.op_type)
    if neutral is None or node.output[0] in view.outputs:
        return None
    sides = (0, 1) if node.op_type in ("Mul", "Add") else (1,)
    for side in sides:
        constant, other = view.constant(node.input[side]), node.input[1 - side]
        if constant is None or other in view.constants:
            continue
        same = view.shapes.get(other) == view.shapes.get(node.output[0])
        if same and np.all(constant == neutral):
            return GraphCandidate(place(node), lambda other=other: _bypassed(view, node, other))
        if node.op_type == "Mul" and not constant.any():
            return _shut(view, node, other, constant)
    return None


def _shut(view: View, node: onnx.NodeProto, other: str, constant: np.ndarray) -> GraphCandidate:
    writer = view.writers.get(other)
    if writer is None or writer.op_type not in _BOUNDED:
        why = "zero times a value that has no bound: where it is infinite the result is no zero"
        return GraphCandidate(place(node), why=why)
    shape = tuple(extent or 1 for extent in view.shapes.get(node.output[0], constant.shape))
    zeros = np.zeros(shape, constant.dtype)
    return GraphCandidate(place(node), lambda: _replaced(view, node, zeros))


def _bypassed(view: View, node: onnx.NodeProto, source: str) -> StepGraph:
    names = {node.output[0]: source}
    return edited(view.graph, [renamed(each, names) for each in view.nodes if each is not node])


def _replaced(view: View, node: onnx.NodeProto, array: np.ndarray) -> StepGraph:
    name = view.fresh(f"{node.output[0]}.constant")
    nodes = [renamed(each, {node.output[0]: name}) for each in view.nodes if each is not node]
    return edited(view.graph, nodes, {name: array})
