"""An imported model in the layout of a step graph: streams in front, states last, pairs in the metadata."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper

from millstream.graph import StatePair, StepGraph, build
from millstream.importing.branches import copied


def step_graph(
    model: onnx.ModelProto, frame: str, outputs: Sequence[str], states: Mapping[str, str]
) -> StepGraph:
    """The step graph of a static model for one stream. Raises GraphInvalid.

    A tensor that does not begin with an axis of 1 gets one in front for the stream.
    """
    made = onnx.ModelProto()
    made.CopyFrom(model)
    graph = made.graph
    values = {v.name: v for v in (*graph.input, *graph.output)}
    before, after, ins, outs = [], [], [], []
    for name in (frame, *states):
        sizes = _sizes(values[name])
        ins.append(_value(name, values[name], with_stream_sizes(sizes)))
        if with_stream_sizes(sizes) != sizes:
            _rename_uses(graph, name, f"{name}.inside")
            before.append(_reshape(graph, name, f"{name}.inside", sizes))
    named = {name: name for name in outputs} | {old: f"{new}.next" for new, old in states.items()}
    for old, new in named.items():
        sizes = with_stream_sizes(_sizes(values[old]))
        outs.append(_value(new, values[old], sizes))
        source = old if new != old else f"{old}.inside"
        if new == old:
            _rename_result(graph, old, source)
        after.append(_reshape(graph, source, new, sizes))
    nodes = [*before, *copied(graph.node), *after]
    for field in (graph.node, graph.input, graph.output):
        del field[:]
    graph.node.extend(nodes)
    graph.input.extend(ins)
    graph.output.extend(outs)
    return build(made, [StatePair(name, f"{name}.next") for name in states])


def with_stream_sizes(sizes: tuple[int, ...]) -> tuple[int, ...]:
    """A shape with the axis of the one stream in front, which is there already when it begins with a 1."""
    return sizes if sizes[:1] == (1,) else (1, *sizes)


def _sizes(value: onnx.ValueInfoProto) -> tuple[int, ...]:
    return tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)


def _value(name: str, like: onnx.ValueInfoProto, sizes: tuple[int, ...]) -> onnx.ValueInfoProto:
    return onnx.helper.make_tensor_value_info(name, like.type.tensor_type.elem_type, sizes)


def _reshape(graph: onnx.GraphProto, source: str, result: str, sizes: tuple[int, ...]) -> onnx.NodeProto:
    shape = f"{result}.sizes"
    graph.initializer.append(onnx.numpy_helper.from_array(np.array(sizes, np.int64), shape))
    return onnx.helper.make_node("Reshape", [source, shape], [result], name=f"{result}.reshape")


def _rename_uses(graph: onnx.GraphProto, old: str, new: str) -> None:
    for node in graph.node:
        for place, name in enumerate(node.input):
            if name == old:
                node.input[place] = new


def _rename_result(graph: onnx.GraphProto, old: str, new: str) -> None:
    _rename_uses(graph, old, new)
    for node in graph.node:
        for place, name in enumerate(node.output):
            if name == old:
                node.output[place] = new
