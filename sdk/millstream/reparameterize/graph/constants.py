"""What does not depend on the frame is computed once: gate bounds, and branches that do nothing.

HGRN's bounds are a softmax and a running sum over a learned table: constants. With them f = lb + (1 - lb)
sigmoid(z) loses a bound of 0 (x * 1 + 0 is x), and a gate whose bound is 1 is constant: 0 * sigmoid(z) is 0
whatever z is, so the projection that computes z is dead.

Needs: operands that are constant; a zero times what is bounded, as 0 times infinity is no zero. Gives:
fewer nodes, and no branch that nothing depends on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import onnx

from millstream.fold import fold_constants
from millstream.graph import StepGraph
from millstream.reparameterize.graph.editing import GraphCandidate, View, edited, place, renamed

_BOUNDED = ("Sigmoid", "HardSigmoid", "Tanh", "Softmax", "Softsign", "Sin", "Cos", "Erf")
_NEUTRAL = {"Mul": 1, "Div": 1, "Add": 0, "Sub": 0}


def constants(graph: StepGraph) -> Iterable[GraphCandidate]:
    """Nodes of constants all at once, operations that do nothing all at once, and each gate that is shut."""
    folded = fold_constants(graph.model)
    gone = len(graph.model.graph.node) - len(folded.graph.node)
    if gone:
        yield GraphCandidate(f"{gone} nodes of constants", lambda: _rebuilt(graph, folded))
    view = View(graph)
    idle = {node.output[0]: source for node in view.nodes if (source := _source(view, node))}
    if idle:
        where = ", ".join(dict.fromkeys(place(view.writers[name]) for name in idle))
        yield GraphCandidate(where, lambda: _bypassed(view, idle))
    for node in view.nodes:
        if node.op_type == "Mul" and node.output[0] not in view.outputs:
            yield from _shut(view, node)


def _rebuilt(graph: StepGraph, folded: onnx.ModelProto) -> StepGraph:
    arrays = {item.name: onnx.numpy_helper.to_array(item) for item in folded.graph.initializer}
    return edited(graph, list(folded.graph.node), arrays)


def _source(view: View, node: onnx.NodeProto) -> str:
    """What an operation that does nothing hands on; empty where it does something."""
    neutral = _NEUTRAL.get(node.op_type)
    if neutral is None or node.output[0] in view.outputs:
        return ""
    for constant, other in _sides(view, node):
        same = view.shapes.get(other) == view.shapes.get(node.output[0])
        if same and np.all(constant == neutral):
            return other
    return ""


def _shut(view: View, node: onnx.NodeProto) -> Iterator[GraphCandidate]:
    """A product with zeros."""
    for constant, other in _sides(view, node):
        if constant.any():
            continue
        writer = view.writers.get(other)
        if writer is None or writer.op_type not in _BOUNDED:
            why = "zero times a value that has no bound: where it is infinite the result is no zero"
            yield GraphCandidate(place(node), why=why)
            continue
        shape = tuple(extent or 1 for extent in view.shapes.get(node.output[0], constant.shape))
        zeros = np.zeros(shape, constant.dtype)
        yield GraphCandidate(place(node), lambda zeros=zeros: _replaced(view, node, zeros))


def _sides(view: View, node: onnx.NodeProto) -> Iterator[tuple[np.ndarray, str]]:
    """A constant operand and the other one, which is none."""
    for side in (0, 1) if node.op_type in ("Mul", "Add") else (1,):
        constant, other = view.constant(node.input[side]), node.input[1 - side]
        if constant is not None and other not in view.constants:
            yield constant, other


def _bypassed(view: View, idle: Mapping[str, str]) -> StepGraph:
    names: dict[str, str] = {}
    for name, source in idle.items():  # in the order of the graph, so that chains end at their start
        names[name] = names.get(source, source)
    kept = [node for node in view.nodes if node.output[0] not in idle]
    return edited(view.graph, [renamed(node, names) for node in kept])


def _replaced(view: View, node: onnx.NodeProto, array: np.ndarray) -> StepGraph:
    name = view.fresh(f"{node.output[0]}.constant")
    nodes = [renamed(each, {node.output[0]: name}) for each in view.nodes if each is not node]
    return edited(view.graph, nodes, {name: array})
