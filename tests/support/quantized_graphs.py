"""Step graphs whose products are quantized, in every format and at odd sizes."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.helper as oh
import onnx.numpy_helper

from millstream.graph import BATCH, OPSET, StatePair, StepGraph, build
from millstream.quantize import Format, quantize
from millstream.quantize.calibration import Calibration

FRAMES = 5


def recurrent_graph(width: int = 37, hidden: int = 53, outputs: int = 29, seed: int = 0) -> StepGraph:
    """A float step: a gated recurrence between two products of one input, and one with a bias behind it.

    input (B, width), state (B, hidden), output (B, outputs):
    next = tanh(input U + bias) + 0.5 state; output = relu(next V) W + input R.
    """
    rng = np.random.default_rng(seed)

    def weight(name: str, *shape: int) -> onnx.TensorProto:
        values = rng.standard_normal(shape) / np.sqrt(shape[0])
        return onnx.numpy_helper.from_array(values.astype(np.float32), name)

    nodes = [
        oh.make_node("Gemm", ["input", "u", "bias"], ["drive"]),
        oh.make_node("Tanh", ["drive"], ["squashed"]),
        oh.make_node("Mul", ["state", "half"], ["decayed"]),
        oh.make_node("Add", ["squashed", "decayed"], ["state.next"]),
        oh.make_node("MatMul", ["state.next", "v"], ["mixed"]),
        oh.make_node("Relu", ["mixed"], ["rectified"]),
        oh.make_node("Gemm", ["rectified", "w"], ["read"], transB=1),
        oh.make_node("MatMul", ["input", "r"], ["skip"]),
        oh.make_node("Add", ["read", "skip"], ["output"]),
    ]
    constants = [weight("u", width, hidden), weight("bias", hidden), weight("v", hidden, hidden)]
    constants += [weight("w", outputs, hidden), weight("r", width, outputs)]
    constants.append(onnx.numpy_helper.from_array(np.array(0.5, np.float32), "half"))
    model = _model(
        nodes, {"input": width, "state": hidden}, {"output": outputs, "state.next": hidden}, constants
    )
    return build(model, [StatePair("state", "state.next")])


def driven_graph(size: int = 40) -> StepGraph:
    """next = input W + 0.5 state, by a Gemm whose result is the next state; all (B, size)."""
    weight = np.random.default_rng(0).standard_normal((size, size)) / np.sqrt(size)
    constants = {"w": weight, "half": np.eye(size) / 2}
    nodes = [
        oh.make_node("MatMul", ["input", "w"], ["drive"]),
        oh.make_node("Gemm", ["state", "half", "drive"], ["state.next"]),
        oh.make_node("Identity", ["state.next"], ["output"]),
    ]
    held = [onnx.numpy_helper.from_array(a.astype(np.float32), name) for name, a in constants.items()]
    sizes = {"input": size, "state": size}, {"output": size, "state.next": size}
    return build(_model(nodes, *sizes, held), [StatePair("state", "state.next")])


def calibration(graph: StepGraph, seed: int = 1) -> Calibration:
    """Gaussian frames, states from zero."""
    rng = np.random.default_rng(seed)
    frames = rng.standard_normal((FRAMES, *_extents(graph.inputs[0].shape)))
    initial = [np.zeros(_extents(tensor.shape), tensor.dtype) for tensor in graph.state_tensors]
    return Calibration([frames.astype(np.float32)], initial)


def quantized_graph(graph: StepGraph, format: Format) -> StepGraph:
    """Every product of the graph that is worth it in that format."""
    return quantize(graph, format, calibration(graph)).graph


def _extents(shape: tuple[int | None, ...]) -> list[int]:
    return [extent or 1 for extent in shape[1:]]


def _model(
    nodes: list[onnx.NodeProto],
    inputs: dict[str, int],
    outputs: dict[str, int],
    constants: list[onnx.TensorProto],
) -> onnx.ModelProto:
    values = [
        [
            oh.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [BATCH, size])
            for name, size in side.items()
        ]
        for side in (inputs, outputs)
    ]
    graph = oh.make_graph(nodes, "step", *values, initializer=constants)
    return oh.make_model(graph, opset_imports=[oh.make_opsetid("", OPSET)])
