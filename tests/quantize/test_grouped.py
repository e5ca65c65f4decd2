"""int4 with scales for groups of inputs: less noise where weights differ, the same numbers everywhere."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import onnx.helper as oh
import onnx.numpy_helper
import pytest
from every_backend import EVERY_BACKEND, first_output
from quantized_graphs import calibration

from millstream import lower
from millstream.graph import BATCH, OPSET, StatePair, StepGraph, build
from millstream.quantize import FORMATS, quantize
from millstream.quantize.calibration import Calibration
from millstream.quantize.grouped import groups_of
from millstream.quantize.layers import layers
from millstream.quantize.rounding import size_of_groups
from millstream.reference.interpreter import prepare
from millstream.targets import numba as numba_half
from millstream_runtime import plan
from millstream_runtime.program import item_size

WIDTH, OUTPUTS = 192, 36


def _graph(turned: bool = False, bias: bool = True) -> StepGraph:
    """output = input W + bias, the weights of the second third of the inputs large; a state counts."""
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((WIDTH, OUTPUTS)) * np.repeat([1, 50, 1], WIDTH // 3)[:, None]
    constants = {"w": weight.T if turned else weight, "b": rng.standard_normal(OUTPUTS), "one": np.ones(1)}
    inputs = ["input", "w", "b"] if bias else ["input", "w"]
    nodes = [
        oh.make_node("Gemm", inputs, ["output"], transB=int(turned)),
        oh.make_node("Add", ["state", "one"], ["state.next"]),
    ]
    sizes = {"input": WIDTH, "state": 1, "output": OUTPUTS, "state.next": 1}
    infos = [oh.make_tensor_value_info(n, onnx.TensorProto.FLOAT, [BATCH, s]) for n, s in sizes.items()]
    held = [onnx.numpy_helper.from_array(a.astype(np.float32), name) for name, a in constants.items()]
    model = oh.make_model(
        oh.make_graph(nodes, "step", infos[:2], infos[2:], held), opset_imports=[oh.make_opsetid("", OPSET)]
    )
    return build(model, [StatePair("state", "state.next")])


@pytest.mark.parametrize(
    ("inputs", "groups", "size"),
    [(192, 3, 64), (48, 1, 48), (144, 3, 48), (74, 2, 38), (67, 2, 34), (182, 3, 62), (2561, 41, 64)],
)
def test_inputs_are_cut_into_groups_of_up_to_64_of_one_even_size(inputs: int, groups: int, size: int) -> None:
    assert groups_of(inputs) == groups
    assert size_of_groups(inputs, groups) == size


def test_small_weights_beside_large_ones_keep_their_digits() -> None:
    graph = _graph()
    seen = calibration(graph)
    # Inputs of large weights are small, so that all weights matter alike.
    frames = np.random.default_rng(1).standard_normal((300, WIDTH)).astype(np.float32)
    frames[:, 64:128] /= 50
    seen = Calibration([frames], seen.initial)
    noise = {}
    for name in ("w4", "w4-groups"):
        # With the bound of the format `w4` would give way to weights in int8.
        made = quantize(graph, replace(FORMATS[name], max_error=10), seen)
        (layer,) = layers(made.prepared, made.graph, made.format, made.products, seen)
        noise[name] = layer.together or 0.0
    assert noise["w4-groups"] > noise["w4"] + 10


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("backend", EVERY_BACKEND)
def test_the_same_numbers_everywhere(backend: str, turned: bool) -> None:
    graph = _graph(turned, bias=not turned)
    made = quantize(graph, FORMATS["w4-groups"], calibration(graph)).graph
    x = np.random.default_rng(3).standard_normal((3, WIDTH)).astype(np.float32)
    state = np.zeros((3, 1), np.float32)
    want = prepare(made.model)({"input": x, "state": state})["output"]
    got = first_output(made, backend, x, state)
    assert (np.abs(got - want) <= 1e-5 * np.abs(want).max(1, keepdims=True)).all()


def test_weights_are_packed_in_the_kernels_and_in_the_step_graph() -> None:
    graph = _graph()
    made = quantize(graph, FORMATS["w4-groups"], calibration(graph)).graph
    lowered = lower.lower(made)
    files = numba_half.compile_program(lowered.program, lowered.weights).files
    constants = plan.load(files["plan.json"]).role("constant")
    small = sum(b.size for b in constants if item_size(b.dtype) == 1)
    scales = sum(b.size for b in constants if item_size(b.dtype) == 4)
    factors = 3 * OUTPUTS
    assert small == WIDTH * OUTPUTS // 2 + factors
    assert scales == OUTPUTS + OUTPUTS
    (stored,) = [i for i in made.model.graph.initializer if i.data_type == onnx.TensorProto.INT4]
    assert len(stored.raw_data) == WIDTH * OUTPUTS // 2
