"""Recurrent nodes whose state begins inside the graph, opened: the state comes in and goes out."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import onnx.shape_inference

from millstream.errors import OnnxUnusable

_NODES = ("GRU", "LSTM", "RNN")
#: Places of the initial hidden and cell state among inputs, and of the last ones among outputs.
_HIDDEN, _CELL = (5, 1), (6, 2)


def exposed(model: onnx.ModelProto) -> tuple[onnx.ModelProto, dict[str, str], dict[str, np.ndarray]]:
    """The folded model with every such state as an input and an output; their pairs and first values.

    Raises OnnxUnusable when no node has such a state, or one reads backwards.
    """
    made = onnx.ModelProto()
    made.CopyFrom(model)
    constants = {item.name: onnx.numpy_helper.to_array(item) for item in made.graph.initializer}
    shapes = {v.name: v for v in (*made.graph.value_info, *made.graph.input, *made.graph.output)}
    pairs: dict[str, str] = {}
    first: dict[str, np.ndarray] = {}
    for number, node in enumerate(n for n in made.graph.node if n.op_type in _NODES):
        name = f"{node.op_type.lower()}{number}"
        for kind, (place, result) in _states(node):
            given = node.input[place] if len(node.input) > place else ""
            if given and given not in constants:
                continue
            _refuse_backwards(node)
            state = f"{name}.{kind}"
            first[state] = constants[given] if given else _zeros(node, shapes, constants)
            pairs[state] = _opened(node, state, place, result)
            _declare(made, state, pairs[state], first[state])
    if not pairs:
        raise OnnxUnusable(
            "no recurrent node begins with a state of its own",
            why="the graph has no GRU, LSTM or RNN whose initial state is a constant",
            fix="leave out --expose-rnn-state, and name the states: --state h=hn",
        )
    return made, pairs, first


def _states(node: onnx.NodeProto) -> Iterator[tuple[str, tuple[int, int]]]:
    yield "hidden", _HIDDEN
    if node.op_type == "LSTM":
        yield "cell", _CELL


def _refuse_backwards(node: onnx.NodeProto) -> None:
    direction = next((a.s.decode() for a in node.attribute if a.name == "direction"), "forward")
    if direction != "forward":
        raise OnnxUnusable(
            f"{node.op_type} {node.name} is {direction}", fix="only a recurrence that runs forward can stream"
        )


def _zeros(
    node: onnx.NodeProto, shapes: dict[str, onnx.ValueInfoProto], constants: dict[str, np.ndarray]
) -> np.ndarray:
    """The first state that ONNX takes when none is given: (directions, batch, hidden)."""
    recurrence = constants[node.input[2]]
    sizes = [dim.dim_value for dim in shapes[node.input[0]].type.tensor_type.shape.dim]
    return np.zeros((recurrence.shape[0], sizes[1], recurrence.shape[2]), recurrence.dtype)


def _opened(node: onnx.NodeProto, state: str, place: int, result: int) -> str:
    """Connect a state; the name of its next value."""
    while len(node.input) <= place:
        node.input.append("")
    node.input[place] = state
    while len(node.output) <= result:
        node.output.append("")
    if not node.output[result]:
        node.output[result] = f"{state}.last"
    return node.output[result]


def _declare(model: onnx.ModelProto, state: str, after: str, value: np.ndarray) -> None:
    kind = onnx.helper.np_dtype_to_tensor_dtype(value.dtype)
    model.graph.input.append(onnx.helper.make_tensor_value_info(state, kind, value.shape))
    if after not in {output.name for output in model.graph.output}:
        model.graph.output.append(onnx.helper.make_tensor_value_info(after, kind, value.shape))
