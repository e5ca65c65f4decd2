"""Smoothing: the same float step to the last bit, less noise where channels differ, else nothing."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import onnx.helper as oh
import onnx.numpy_helper
import pytest
from every_backend import EVERY_BACKEND, first_output
from quantized_graphs import calibration, recurrent_graph

from millstream.graph import BATCH, OPSET, StatePair, StepGraph, build
from millstream.quantize import FORMATS, flattened, quantize
from millstream.quantize.calibration import Calibration, stream
from millstream.quantize.layers import noise_alone
from millstream.quantize.product import find
from millstream.quantize.smoothing import divided, smoothed
from millstream.reference.interpreter import prepare

WIDTH, OUTPUTS = 40, 36


def _uneven() -> tuple[StepGraph, Calibration]:
    """A recurrent step of whose input two channels are 200 times as large as the others."""
    graph = recurrent_graph()
    seen = calibration(graph)
    frames = seen.sequences[0].copy()
    frames[:, [3, 20]] *= 200
    return graph, Calibration([frames], seen.initial)


def _chain(*middle: onnx.NodeProto) -> StepGraph:
    """output = f(input) W where `middle` computes f as "inner" from "input", and a state that counts."""
    rng = np.random.default_rng(0)
    constants = {
        "w": rng.standard_normal((WIDTH, OUTPUTS)),
        "first": rng.standard_normal((WIDTH, WIDTH)),
        "turned": rng.standard_normal((WIDTH, WIDTH)),
        "bias": rng.standard_normal(WIDTH),
        "gain": rng.standard_normal(WIDTH) * np.where(np.arange(WIDTH) == 5, 300, 1),
        "one": np.ones(1),
    }
    constants["first"][:, 5] *= 300
    constants["turned"][5] *= 300
    nodes = [*middle, oh.make_node("MatMul", ["inner", "w"], ["output"])]
    nodes.append(oh.make_node("Add", ["state", "one"], ["state.next"]))
    read = {name for node in nodes for name in node.input}
    held = [
        onnx.numpy_helper.from_array(array.astype(np.float32), name)
        for name, array in constants.items()
        if name in read
    ]
    sizes = {"input": WIDTH, "state": 1, "output": OUTPUTS, "state.next": 1}
    infos = [oh.make_tensor_value_info(n, onnx.TensorProto.FLOAT, [BATCH, s]) for n, s in sizes.items()]
    graph = oh.make_graph(nodes, "step", infos[:2], infos[2:], held)
    model = oh.make_model(graph, opset_imports=[oh.make_opsetid("", OPSET)])
    return build(model, [StatePair("state", "state.next")])


CHAINS = {
    "MatMul": (oh.make_node("MatMul", ["input", "first"], ["inner"]),),
    "Gemm": (oh.make_node("Gemm", ["input", "turned", "bias"], ["inner"], transB=1),),
    "Relu": (
        oh.make_node("Gemm", ["input", "first", "bias"], ["before"]),
        oh.make_node("Relu", ["before"], ["inner"]),
    ),
    "LayerNormalization": (oh.make_node("LayerNormalization", ["input", "gain", "bias"], ["inner"]),),
}


def _operators(graph: StepGraph) -> Counter[str]:
    return Counter(node.op_type for node in graph.model.graph.node)


def _assert_same_numbers(one: StepGraph, other: StepGraph, seen: Calibration) -> None:
    for want, got in zip(stream(one, seen), stream(other, seen), strict=True):
        for name, array in want.items():
            np.testing.assert_array_equal(got[name], array)


@pytest.mark.parametrize("name", ["w8a8", "w8a8-static", "w4a8"])
def test_a_layer_whose_channels_differ_gets_less_noise(name: str) -> None:
    graph, seen = _uneven()
    products, _ = find(graph)
    format = FORMATS[name]
    done = smoothed(graph, format, products, seen)
    made = done.graph
    before = noise_alone(graph, format, products, seen)
    after = noise_alone(made, format, find(made)[0], seen)
    assert {told.method for told in done.gains} <= {"smoothed, half", "smoothed, whole"}
    told = next(told for told in done.gains if "drive" in told.modules)
    assert told.before == pytest.approx(sum(before[name] for name in told.modules))
    # Tried with ranges from half of the example, kept with those from all of it.
    assert told.after == pytest.approx(sum(after[name] for name in told.modules), rel=0.2)
    # int4 has not the steps for what the activation no longer carries.
    assert after["drive"] < before["drive"] / (1.2 if name == "w4a8" else 3)
    assert all(after[each] <= before[each] * 1.0001 for each in before)
    _assert_same_numbers(graph, made, seen)


@pytest.mark.parametrize("name", ["w8", "w4", "w16"])
def test_formats_that_do_not_round_activations_are_left_alone(name: str) -> None:
    graph, seen = _uneven()
    assert smoothed(graph, FORMATS[name], find(graph)[0], seen).graph is graph


def test_channels_that_every_sequence_makes_large_or_small_anew_are_left_alone() -> None:
    """They look uneven, and a range of their own holds all that was seen, but not the next sequence."""
    graph, rng = recurrent_graph(), np.random.default_rng(0)
    (frame,) = graph.inputs
    shape = frame.shape[1:]
    sequences = [rng.standard_normal((40, *shape)) * np.exp(rng.standard_normal(shape)) for _ in range(8)]
    seen = Calibration([each.astype(np.float32) for each in sequences], calibration(graph).initial)
    assert smoothed(graph, FORMATS["w8a8-static"], find(graph)[0], seen).graph is graph


def test_even_channels_are_left_alone() -> None:
    graph = recurrent_graph()
    seen = calibration(graph)
    assert smoothed(graph, FORMATS["w8a8"], find(graph)[0], seen).graph is graph


@pytest.mark.parametrize("middle", CHAINS.values(), ids=CHAINS)
def test_what_computes_the_activation_takes_the_division(middle: tuple[onnx.NodeProto, ...]) -> None:
    graph = _chain(*middle)
    seen = calibration(graph)
    products = [product for product in find(graph)[0] if product.activation == "inner"]
    made = smoothed(graph, FORMATS["w8a8"], products, seen).graph
    assert made is not graph
    assert _operators(made) == _operators(graph)
    _assert_same_numbers(graph, made, seen)


@pytest.mark.parametrize(
    "middle",
    [
        (oh.make_node("Tanh", ["input"], ["inner"]),),
        (oh.make_node("MatMul", ["input", "first"], ["inner"]), oh.make_node("Tanh", ["inner"], ["also"])),
    ],
    ids=["not linear", "read elsewhere"],
)
def test_else_a_node_divides(middle: tuple[onnx.NodeProto, ...]) -> None:
    graph = _chain(*middle)
    seen = calibration(graph)
    scale = np.exp2(np.arange(WIDTH) % 5 - 2).astype(np.float32)
    products = [product for product in find(graph)[0] if product.activation == "inner"]
    made = divided(graph, {"inner": scale}, products)
    assert _operators(made) == _operators(graph) + Counter(Mul=1)
    _assert_same_numbers(graph, made, seen)


def test_a_weight_that_others_read_is_left_alone() -> None:
    graph, seen = _uneven()
    model = onnx.ModelProto()
    model.CopyFrom(graph.model)
    model.graph.node.append(oh.make_node("MatMul", ["input", "u"], ["again"]))
    twice = build(model, graph.states)
    made = smoothed(twice, FORMATS["w8a8"], [p for p in find(twice)[0] if p.weight == "u"], seen).graph
    assert made is twice


@pytest.mark.parametrize("backend", EVERY_BACKEND)
def test_a_smoothed_step_is_the_same_everywhere(backend: str) -> None:
    graph, seen = _uneven()
    made = quantize(graph, FORMATS["w8a8"], seen)
    assert _operators(made.prepared) != _operators(flattened(graph))
    x, state = seen.sequences[0], np.zeros((len(seen.sequences[0]), 53), np.float32)
    want = prepare(made.graph.model)({"input": x, "state": state})["output"]
    got = first_output(made.graph, backend, x, state)
    assert (np.abs(got - want) <= 1e-5 * np.abs(want).max(1, keepdims=True)).all()


def test_a_smoothed_state_is_still_watched_for_drift() -> None:
    """The product no longer reads the state but what a factor made of it."""
    rng = np.random.default_rng(0)
    slow = np.eye(WIDTH) * 0.999 + rng.standard_normal((WIDTH, WIDTH)) * 1e-5
    held = [onnx.numpy_helper.from_array(slow.astype(np.float32), "slow")]
    nodes = [
        oh.make_node("MatMul", ["state", "slow"], ["kept"]),
        oh.make_node("Add", ["kept", "input"], ["state.next"]),
        oh.make_node("Identity", ["state.next"], ["output"]),
    ]
    names = ("input", "state", "output", "state.next")
    infos = [oh.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [BATCH, WIDTH]) for name in names]
    made = oh.make_graph(nodes, "step", infos[:2], infos[2:], held)
    model = oh.make_model(made, opset_imports=[oh.make_opsetid("", OPSET)])
    graph = build(model, [StatePair("state", "state.next")])
    frames = rng.standard_normal((64, WIDTH)).astype(np.float32)
    frames[:, 3] *= 200
    quantized = quantize(graph, FORMATS["w8a8"], Calibration([frames], [np.zeros(WIDTH, np.float32)]))
    assert "state.smooth" in {node.input[0] for node in quantized.prepared.model.graph.node}
    (product,) = quantized.products
    way = quantized.format.of(product)
    assert way is not None
    assert way.name == "w16"
