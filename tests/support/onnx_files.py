"""Streaming ONNX files, written node by node as exporters of other people leave them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

_RNG = np.random.default_rng(0)


def _weight(name: str, *shape: int) -> onnx.TensorProto:
    return numpy_helper.from_array((0.4 * _RNG.standard_normal(shape)).astype(np.float32), name)


def _value(name: str, shape: list, kind: int = onnx.TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def _saved(graph: onnx.GraphProto, path: Path, opset: int) -> Path:
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


def detector(path: Path, frames: str | int = "T") -> Path:
    """A linear layer, an LSTM with its states outside, a probability: x (T, 1, 6), h and c (1, 1, 5)."""
    nodes = [
        helper.make_node("MatMul", ["x", "into"], ["inner"]),
        helper.make_node("Relu", ["inner"], ["active"]),
        helper.make_node("LSTM", ["active", "w", "r", "b", "", "h", "c"], ["y", "hn", "cn"], hidden_size=5),
        helper.make_node("Squeeze", ["y", "one"], ["flat"]),
        helper.make_node("MatMul", ["flat", "out"], ["score"]),
        helper.make_node("Sigmoid", ["score"], ["probability"]),
    ]
    held = [_weight("into", 6, 4), _weight("w", 1, 20, 4), _weight("r", 1, 20, 5), _weight("b", 1, 40)]
    held += [_weight("out", 5, 1), numpy_helper.from_array(np.array([1], np.int64), "one")]
    inputs = [_value("x", [frames, 1, 6]), _value("h", [1, 1, 5]), _value("c", [1, 1, 5])]
    outputs = [_value("probability", [frames, 1, 1]), _value("hn", [1, 1, 5]), _value("cn", [1, 1, 5])]
    return _saved(helper.make_graph(nodes, "detector", inputs, outputs, held), path, 15)


def closed(path: Path) -> Path:
    """A GRU that begins with zeros made inside the graph from the shape of its input: x (T, 1, 4)."""
    nodes = [
        helper.make_node("Shape", ["x"], ["sizes"]),
        helper.make_node("Gather", ["sizes", "place"], ["batch"]),
        helper.make_node("Concat", ["front", "batch", "width"], ["shape"], axis=0),
        helper.make_node("ConstantOfShape", ["shape"], ["start"]),
        helper.make_node(
            "GRU", ["x", "w", "r", "b", "", "start"], ["y", ""], hidden_size=3, linear_before_reset=1
        ),
        helper.make_node("Squeeze", ["y", "front"], ["output"]),
    ]
    held = [_weight("w", 1, 9, 4), _weight("r", 1, 9, 3), _weight("b", 1, 18)]
    for name, number in (("place", 1), ("front", 1), ("width", 3)):
        held.append(numpy_helper.from_array(np.array([number], np.int64), name))
    inputs, outputs = [_value("x", ["T", 1, 4])], [_value("output", ["T", 1, 3])]
    return _saved(helper.make_graph(nodes, "closed", inputs, outputs, held), path, 16)


def switched(path: Path) -> Path:
    """Another gain for each sample rate, chosen by nested If nodes: x (1, 4), state (2, 1, 4), sr ()."""

    def branch(name: str, gain: str, node: onnx.NodeProto | None = None) -> onnx.GraphProto:
        own = [helper.make_node("Mul", ["x", gain], [f"{name}.out"])] if node is None else [node]
        result = own[-1].output[0]
        return helper.make_graph(own, name, [], [_value(result, [1, 4])])

    inner = helper.make_node(
        *("If", ["is_eight"], ["inner.out"]),
        then_branch=branch("eight", "double"),
        else_branch=branch("other", "half"),
    )
    outer = helper.make_node(
        *("If", ["is_sixteen"], ["scaled"]),
        then_branch=branch("sixteen", "half"),
        else_branch=branch("inner", "", inner),
    )
    nodes = [
        helper.make_node("Equal", ["sr", "sixteen"], ["is_sixteen"]),
        helper.make_node("Equal", ["sr", "eight"], ["is_eight"]),
        outer,
        helper.make_node("Gather", ["state", "zero"], ["older"], axis=0),
        helper.make_node("Gather", ["state", "first"], ["newer"], axis=0),
        helper.make_node("Add", ["scaled", "older"], ["output"]),
        helper.make_node("Unsqueeze", ["newer", "axes"], ["a"]),
        helper.make_node("Unsqueeze", ["scaled", "axes"], ["b"]),
        helper.make_node("Concat", ["a", "b"], ["stateN"], axis=0),
    ]
    held = [
        numpy_helper.from_array(np.array(16000, np.int64), "sixteen"),
        numpy_helper.from_array(np.array(8000, np.int64), "eight"),
        numpy_helper.from_array(np.float32(0.5), "half"),
        numpy_helper.from_array(np.float32(2.0), "double"),
        numpy_helper.from_array(np.array(0, np.int64), "zero"),
        numpy_helper.from_array(np.array(1, np.int64), "first"),
        numpy_helper.from_array(np.array([0], np.int64), "axes"),
    ]
    inputs = [_value("x", [1, 4]), _value("state", [2, 1, 4]), _value("sr", [], onnx.TensorProto.INT64)]
    outputs = [_value("output", [1, 4]), _value("stateN", [2, 1, 4])]
    return _saved(helper.make_graph(nodes, "switched", inputs, outputs, held), path, 16)
