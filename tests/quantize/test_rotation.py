"""Rotations: the same float step, less noise where channels stand out, else nothing."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx.numpy_helper
import onnx.parser
import pytest
from every_backend import EVERY_BACKEND, first_output
from quantized_graphs import calibration

from millstream.graph import OPSET, StatePair, StepGraph, build, initializers
from millstream.quantize import FORMATS, quantize
from millstream.quantize.calibration import Calibration
from millstream.quantize.error import relative_errors
from millstream.quantize.hadamard import mixing
from millstream.quantize.layers import noise_alone
from millstream.quantize.online_rotation import rotated_online
from millstream.quantize.product import find
from millstream.quantize.rotation import regions, rotated, turned
from millstream.quantize.smoothing import LEAST_GAIN
from millstream.quantize.tolerance import largest_effect
from millstream.reference.interpreter import prepare

WIDTH, HIDDEN, OUTPUTS = 48, 64, 72

#: A residual stream: written by an embedding of the frame and a gated layer, read behind RMSNorms.
_RESIDUAL = """
step (float[B, 20] input, float[B, 64] state) => (float[B, 72] output, float[B, 64] state_next) {
  first = Gemm (input, inlet, shift)
  squares_0 = Mul (first, first)
  mean_0 = ReduceMean (squares_0, last)
  rms_0 = Sqrt (mean_0)
  inverse_0 = Reciprocal (rms_0)
  normed_0 = Mul (first, inverse_0)
  gained_0 = Mul (normed_0, gain_0)
  drive = MatMul (gained_0, up)
  halved = Mul (state, half)
  state_next = Add (halved, drive)
  active = Tanh (state_next)
  back = Gemm <transB = 1> (active, down)
  second = Add (first, back)
  squares_1 = Mul (second, second)
  mean_1 = ReduceMean (squares_1, last)
  rms_1 = Sqrt (mean_1)
  normed_1 = Div (second, rms_1)
  gained_1 = Mul (normed_1, gain_1)
  output = MatMul (gained_1, head)
}
"""

_CHAIN = """
step (float[B, 20] input, float[B, 1] state) => (float[B, 72] output, float[B, 1] state_next) {
  inner = Gemm (input, inlet, shift)
  output = MatMul (inner, head)
  state_next = Identity (state)
}
"""

_GATED = """
step (float[B, 20] input, float[B, 1] state) => (float[B, 72] output, float[B, 1] state_next) {
  inner = MatMul (input, inlet)
  gate = Sigmoid (inner)
  gated = Mul (inner, gate)
  output = MatMul (gated, head)
  state_next = Identity (state)
}
"""


def _step(text: str, outputs: int = OUTPUTS) -> StepGraph:
    rng = np.random.default_rng(0)
    constants = {
        "inlet": rng.standard_normal((20, WIDTH)) / 4,
        "shift": rng.standard_normal(WIDTH) / 4,
        "up": rng.standard_normal((WIDTH, HIDDEN)) / 7,
        "down": rng.standard_normal((WIDTH, HIDDEN)) / 8,
        "head": rng.standard_normal((WIDTH, outputs)) / 7,
        "gain_0": rng.uniform(0.5, 2, WIDTH),
        "gain_1": rng.uniform(0.5, 2, WIDTH),
        "half": np.array(0.5),
    }
    model = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["": {OPSET}]> {text}')
    held = [onnx.numpy_helper.from_array(a.astype(np.float32), name) for name, a in constants.items()]
    held.append(onnx.numpy_helper.from_array(np.array([-1]), "last"))
    read = {name for node in model.graph.node for name in node.input}
    model.graph.initializer.extend(item for item in held if item.name in read)
    return build(model, [StatePair("state", "state_next")])


def _with(graph: StepGraph, **changed: np.ndarray) -> StepGraph:
    model = onnx.ModelProto()
    model.CopyFrom(graph.model)
    for item in model.graph.initializer:
        if item.name in changed:
            item.CopyFrom(onnx.numpy_helper.from_array(changed[item.name].astype(np.float32), item.name))
    return build(model, graph.states)


def _bursts(graph: StepGraph) -> StepGraph:
    """The same step where each frame makes a few channels of the stream large, other ones every time, so that
    no scale of channels helps."""
    inlet = initializers(graph.model)["inlet"].copy()
    rng = np.random.default_rng(3)
    for row in inlet:
        row[rng.integers(WIDTH)] *= 60
    return _with(graph, inlet=inlet)


def _one_hot(graph: StepGraph) -> Calibration:
    """Frames of which one number is large."""
    rng = np.random.default_rng(2)
    frames = rng.standard_normal((40, 20)).astype(np.float32) / 10
    frames[np.arange(40), rng.integers(20, size=40)] += 3
    return Calibration([frames], calibration(graph).initial)


def _assert_same_function(one: StepGraph, other: StepGraph, seen: Calibration, bound: float) -> None:
    """Weights of float32 are off by 2^-24 of their value, a few of which add up."""
    names = [value.name for value in one.model.graph.output]
    assert max(relative_errors(one, other, names, seen).values()) < bound


@pytest.mark.parametrize("width", [1, 2, 16, 20, 95, 96])
def test_the_mixing_is_orthogonal_and_spreads(width: int) -> None:
    matrix = mixing(width)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(width), atol=1e-12)
    assert np.abs(matrix).max() <= np.sqrt(2 / width) + 1e-12
    assert width < 16 or np.abs(np.ones(width) @ matrix).max() < np.sqrt(width)


@pytest.mark.parametrize("text", [_RESIDUAL, _CHAIN], ids=["residual", "chain"])
def test_a_rotated_stream_is_the_same_function_and_costs_nothing(text: str) -> None:
    graph = _step(text)
    (region,) = regions(graph, FORMATS["w8a8"], find(graph)[0])
    made = turned(graph, [region])
    _assert_same_function(graph, made, calibration(graph), 1e-6)
    before, after = (Counter(n.op_type for n in g.model.graph.node) for g in (graph, made))
    assert not after - before
    assert set(initializers(made.model)) != set(initializers(graph.model))


@pytest.mark.parametrize("name", ["w8a8", "w8a8-static"])
def test_bursts_of_channels_are_spread(name: str) -> None:
    graph = _bursts(_step(_RESIDUAL))
    seen, format = _one_hot(graph), FORMATS[name]
    products, _ = find(graph)
    done = rotated(graph, format, products, seen)
    made = done.graph
    before, after = (noise_alone(g, format, find(g)[0], seen) for g in (graph, made))
    (told,) = done.gains
    assert told.method == "rotated"
    around = before.keys() & told.modules
    assert told.before == pytest.approx(sum(before[name] for name in around))
    assert told.after == pytest.approx(sum(after[name] for name in around))
    assert after["drive"] < before["drive"] / 2
    assert after["output"] < before["output"] * (1 - LEAST_GAIN)
    _assert_same_function(graph, made, seen, 1e-6)


def test_an_even_stream_is_left_alone() -> None:
    graph = _step(_RESIDUAL)
    assert rotated(graph, FORMATS["w8a8"], find(graph)[0], calibration(graph)).graph is graph


def test_a_stream_that_an_output_shows_does_not_turn() -> None:
    shown = _CHAIN.replace("float[B, 72] output,", "float[B, 72] output, float[B, 48] inner,")
    for text, count in ((_CHAIN, 1), (shown, 0)):
        graph = _step(text)
        assert len(regions(graph, FORMATS["w8a8"], find(graph)[0])) == count


@pytest.mark.parametrize("name", ["w8", "w4", "w16"])
def test_formats_that_do_not_round_activations_are_left_alone(name: str) -> None:
    graph = _bursts(_step(_RESIDUAL))
    seen, products = _one_hot(graph), find(graph)[0]
    assert rotated(graph, FORMATS[name], products, seen).graph is graph
    assert rotated_online(graph, FORMATS[name], products, seen).graph is graph


@pytest.mark.parametrize("name", ["w8a8", "w8a8-static"])
def test_bursts_behind_a_gate_are_spread_by_the_step_itself(name: str) -> None:
    graph = _bursts(_step(_GATED))
    seen, format = _one_hot(graph), FORMATS[name]
    products, _ = find(graph)
    assert rotated(graph, format, products, seen).graph is graph
    done = rotated_online(graph, format, products, seen)
    made = done.graph
    before, after = (noise_alone(g, format, find(g)[0], seen) for g in (graph, made))
    assert after["output"] < before["output"] * 2 / 3
    (told,) = done.gains
    assert (told.method, told.modules) == ("rotated in the step", ("output",))
    assert (told.before, told.after) == (before["output"], after["output"])
    _assert_same_function(graph, made, seen, 1e-6)


def test_even_channels_behind_a_gate_are_left_alone() -> None:
    graph = _step(_GATED)
    assert rotated_online(graph, FORMATS["w8a8"], find(graph)[0], calibration(graph)).graph is graph


def test_a_rotation_that_is_much_of_the_work_is_left_out() -> None:
    graph = _bursts(_step(_GATED))
    seen, products = _one_hot(graph), find(graph)[0]
    assert rotated_online(graph, FORMATS["w8a8"], products, seen).graph is not graph
    narrow = _bursts(_step(_GATED.replace("72", "63"), 63))
    assert rotated_online(narrow, FORMATS["w8a8"], find(narrow)[0], seen).graph is narrow


@pytest.mark.parametrize("backend", EVERY_BACKEND)
def test_a_rotated_step_is_the_same_everywhere(backend: str) -> None:
    graph = _bursts(_step(_GATED))
    seen = _one_hot(graph)
    made = quantize(graph, FORMATS["w8a8"], seen)
    assert "rotation" in initializers(made.graph.model)
    assert [each["method"] for each in made.to_json()["prepared"]] == ["rotated in the step"]
    x, state = seen.sequences[0], np.zeros((40, 1), np.float32)
    want = prepare(made.graph.model)({"input": x, "state": state})["output"]
    got = first_output(made.graph, backend, x, state)
    effect = largest_effect(made.graph, seen, 8)
    assert (np.abs(got - want) <= (1e-5 + 2 * effect) * np.abs(want).max()).all()
