"""Constants beside the weights of products: in int16 where nothing drifts, the same numbers everywhere."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.helper as oh
import onnx.numpy_helper
import pytest
from every_backend import EVERY_BACKEND, first_output

from millstream.graph import BATCH, OPSET, StatePair, StepGraph, build, initializers
from millstream.quantize import FORMATS, Quantized, quantize
from millstream.quantize.beside import in_int16, operands
from millstream.quantize.calibration import Calibration
from millstream.reference.interpreter import prepare

WIDTH = 150
NAMES = {"bias", "decay", "gain"}


def _graph(decay: float = 0.9, gain: float = 1.0) -> StepGraph:
    """state.next = decay state + input W + bias; output = gain state.next - half input."""
    rng = np.random.default_rng(0)
    constants = {
        "w": rng.standard_normal((WIDTH, WIDTH)) / 40,
        "bias": rng.standard_normal(WIDTH),
        "decay": decay * rng.uniform(0.9, 1, WIDTH),
        "gain": gain * rng.standard_normal(WIDTH),
        "half": np.array(0.5),
    }
    nodes = [
        oh.make_node("Gemm", ["input", "w", "bias"], ["drive"]),
        oh.make_node("Mul", ["state", "decay"], ["kept"]),
        oh.make_node("Add", ["kept", "drive"], ["state.next"]),
        oh.make_node("Mul", ["state.next", "gain"], ["read"]),
        oh.make_node("Mul", ["input", "half"], ["less"]),
        oh.make_node("Sub", ["read", "less"], ["output"]),
    ]
    infos = [
        [oh.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [BATCH, WIDTH]) for name in names]
        for names in (("input", "state"), ("output", "state.next"))
    ]
    held = [onnx.numpy_helper.from_array(a.astype(np.float32), name) for name, a in constants.items()]
    made = oh.make_graph(nodes, "step", *infos, held)
    model = oh.make_model(made, opset_imports=[oh.make_opsetid("", OPSET)])
    return build(model, [StatePair("state", "state.next")])


def _seen() -> Calibration:
    frames = np.random.default_rng(1).standard_normal((40, WIDTH)).astype(np.float32)
    return Calibration([frames], [np.zeros(WIDTH, np.float32)])


def _integers(made: Quantized) -> dict[str, np.ndarray]:
    held = initializers(made.graph.model)
    return {each.name: held[f"{each.name}.int16"] for each in made.beside}


@pytest.mark.parametrize("name", [name for name, format in FORMATS.items() if not format.whole])
def test_they_are_in_int16_in_every_format(name: str) -> None:
    made = quantize(_graph(), FORMATS[name], _seen())
    assert {key: array.dtype.name for key, array in _integers(made).items()} == dict.fromkeys(NAMES, "int16")
    assert not NAMES & set(initializers(made.graph.model))
    told = made.to_json()["in int16"]
    assert {(each["operator"], *each["shape"]) for each in told} == {("Gemm", WIDTH), ("Mul", WIDTH)}
    assert not made.left


def test_each_is_half_a_step_away_at_most_and_no_step_could_be_finer() -> None:
    exact, made = initializers(_graph().model), quantize(_graph(), FORMATS["w8"], _seen())
    held = initializers(made.graph.model)
    for name, integers in _integers(made).items():
        step = held[f"{name}.step"]
        assert np.frexp(step)[0] == 0.5
        assert 2**14 <= np.abs(integers).max() < 2**15
        assert (np.abs(integers * step.astype(np.float64) - exact[name]) <= step / 2).all()


def test_what_is_rounded_already_stays_as_it_is() -> None:
    """So that a model trained with rounded biases finds its results again."""
    graph = _graph()
    once = in_int16(graph, operands(graph))
    held, model = initializers(once.model), onnx.ModelProto()
    model.CopyFrom(graph.model)
    for item in model.graph.initializer:
        if item.name in NAMES:
            values = held[f"{item.name}.int16"] * held[f"{item.name}.step"]
            item.CopyFrom(onnx.numpy_helper.from_array(values, item.name))
    again = build(model, graph.states)
    x = {"input": _seen().sequences[0][:3], "state": np.ones((3, WIDTH), np.float32)}
    want, got = (prepare(each.model)(x) for each in (again, in_int16(again, operands(again))))
    np.testing.assert_array_equal(got["output"], want["output"])


@pytest.mark.parametrize("backend", EVERY_BACKEND)
def test_the_same_numbers_everywhere(backend: str) -> None:
    made = quantize(_graph(), FORMATS["w8"], _seen()).graph
    x, state = (
        _seen().sequences[0][:3],
        np.random.default_rng(2).standard_normal((3, WIDTH)).astype(np.float32),
    )
    want = prepare(made.model)({"input": x, "state": state})["output"]
    got = first_output(made, backend, x, state)
    assert (np.abs(got - want) <= 1e-5 * np.abs(want).max(1, keepdims=True)).all()


def test_a_decay_near_one_stays_in_float_and_says_why() -> None:
    """0.99998 must be exact to a millionth, which int16 is not: the others are taken all the same."""
    rng = np.random.default_rng(0)
    slow = _graph()
    decay = next(item for item in slow.model.graph.initializer if item.name == "decay")
    near = (1 - rng.uniform(1e-5, 3e-5, WIDTH)).astype(np.float32)
    decay.CopyFrom(onnx.numpy_helper.from_array(near, "decay"))
    made = quantize(slow, FORMATS["w8"], _seen())
    assert {each.name for each in made.beside} == NAMES - {"decay"}
    (left,) = made.left
    assert (left.operator, left.shape) == ("Mul", (WIDTH,))
    assert "in int16 it moves an output or a state by" in left.why


def test_what_else_reads_a_constant_keeps_it_in_float() -> None:
    graph = _graph()
    model = onnx.ModelProto()
    model.CopyFrom(graph.model)
    model.graph.node[-1].input[1] = "cut"
    model.graph.node.insert(0, oh.make_node("Softmax", ["gain"], ["cut"]))
    assert {each.name for each in operands(build(model, graph.states))} == NAMES - {"gain"}


def test_no_numbers_that_int16_does_not_hold() -> None:
    for value in (0, np.inf, np.nan, 1e-37):
        assert {each.name for each in operands(_graph(gain=value))} == NAMES - {"gain"}
