"""Every format: near the float step, and the same integers in every backend."""

from __future__ import annotations

import numpy as np
import onnx.helper as oh
import onnx.numpy_helper
import pytest
from every_backend import EVERY_BACKEND, first_output
from quantized_graphs import calibration, quantized_graph, recurrent_graph

from millstream import lower
from millstream.errors import NothingToQuantize, UnknownFormat
from millstream.graph import BATCH, OPSET, StatePair, StepGraph, build
from millstream.quantize import FORMATS, Format, format_named, quantize
from millstream.quantize.calibration import Calibration
from millstream.quantize.error import relative_errors
from millstream.quantize.mixed import mixed
from millstream.reference.interpreter import prepare
from millstream.targets import numba as numba_half
from millstream_runtime.program import item_size

WIDTH, OUTPUTS = 40, 36


def _product_graph(ternary: bool) -> StepGraph:
    """output = input W + bias, and a state that counts; weights are ternary or Gaussian."""
    rng = np.random.default_rng(0)
    weight = (
        rng.choice([-0.5, 0, 0.5], (WIDTH, OUTPUTS)) if ternary else rng.standard_normal((WIDTH, OUTPUTS))
    )
    constants = {"w": weight, "b": rng.standard_normal(OUTPUTS), "one": np.ones(1)}
    nodes = [
        oh.make_node("Gemm", ["input", "w", "b"], ["output"]),
        oh.make_node("Add", ["state", "one"], ["state.next"]),
    ]
    tensors = {"input": WIDTH, "state": 1, "output": OUTPUTS, "state.next": 1}
    infos = [oh.make_tensor_value_info(n, onnx.TensorProto.FLOAT, [BATCH, s]) for n, s in tensors.items()]
    held = [onnx.numpy_helper.from_array(a.astype(np.float32), name) for name, a in constants.items()]
    graph = oh.make_graph(nodes, "step", infos[:2], infos[2:], held)
    model = oh.make_model(graph, opset_imports=[oh.make_opsetid("", OPSET)])
    return build(model, [StatePair("state", "state.next")])


def _graph(format: Format) -> StepGraph:
    return _product_graph(ternary=format.name == "ternary")


def _extreme(batch: int) -> np.ndarray:
    """Frames far larger and smaller than any example, zeros among them."""
    frames = np.random.default_rng(5).standard_normal((batch, WIDTH)).astype(np.float32)
    frames[1] *= 1e4
    frames[2] *= 1e-4
    frames[3] = 0
    return frames


@pytest.mark.parametrize("format", FORMATS.values(), ids=list(FORMATS))
def test_a_quantized_product_is_near_the_float_one(format: Format) -> None:
    exact = _graph(format)
    seen = calibration(exact)
    (error,) = relative_errors(exact, quantize(exact, format, seen).graph, ["output"], seen).values()
    assert 0 < error < format.max_error


@pytest.mark.parametrize("backend", EVERY_BACKEND)
@pytest.mark.parametrize("format", FORMATS.values(), ids=list(FORMATS))
def test_the_same_integers_everywhere(format: Format, backend: str) -> None:
    graph = quantized_graph(_graph(format), format)
    x, state = _extreme(4), np.zeros((4, 1), np.float32)
    want = prepare(graph.model)({"input": x, "state": state})["output"]
    got = first_output(graph, backend, x, state)
    # One integer of one activation more or less is a thousandth of a sum.
    bound = 1e-5 * np.abs(want).max(1, keepdims=True)
    assert (np.abs(got - want) <= bound).all()


@pytest.mark.parametrize(
    ("name", "bits"),
    [("w16", 16), ("w8", 8), ("w8a8", 8), ("w8a8-static", 8), ("w4", 4), ("w4a8", 4), ("ternary", 2)],
)
def test_weights_take_their_bits_on_the_device(name: str, bits: int) -> None:
    graph = quantized_graph(_graph(FORMATS[name]), FORMATS[name])
    lowered = lower.lower(graph)
    compiled = numba_half.compile_program(lowered.program, lowered.weights)
    integers = ("int8", "uint8", "int16")
    small = [b for b in _constants(compiled.files["plan.json"]) if b[1] in integers]
    # Ternary sums of 40 are filled up to 48, so that each of the four in a byte has whole groups.
    terms = 48 if bits == 2 else WIDTH
    assert sum(size * item_size(dtype) for size, dtype in small) == terms * OUTPUTS * bits // 8


@pytest.mark.parametrize(("name", "bits"), [("w16", 16), ("w8", 8), ("w4", 4), ("w4a8", 4), ("ternary", 4)])
def test_weights_take_their_bits_in_the_step_graph(name: str, bits: int) -> None:
    """ONNX has no integers of 2 bits before opset 25, so that ternary weights take 4 there."""
    made = quantized_graph(_graph(FORMATS[name]), FORMATS[name])
    sizes = [len(item.raw_data) for item in made.model.graph.initializer if item.dims == [WIDTH, OUTPUTS]]
    assert sizes == [WIDTH * OUTPUTS * bits // 8]


def _constants(plan_bytes: bytes) -> list[tuple[int, str]]:
    from millstream_runtime import plan

    return [(b.size, b.dtype) for b in plan.load(plan_bytes).role("constant")]


@pytest.mark.parametrize("name", ["w8", "w4", "w8a8", "w4a8"])
def test_states_of_a_recurrence_stay_near_float(name: str) -> None:
    graph = recurrent_graph()
    seen, format = calibration(graph), FORMATS[name]
    made = quantize(graph, format, seen)
    assert made.products
    errors = relative_errors(graph, made.graph, ["output", "state.next"], seen)
    assert all(error < format.max_error for error in errors.values())


def _remembering() -> StepGraph:
    """next = state A + input B: A turns the state and hardly shrinks it, so that every error stays."""
    rng = np.random.default_rng(3)
    size = 40
    turning, _ = np.linalg.qr(rng.standard_normal((size, size)))
    constants = {"a": turning * 0.9999, "b": rng.standard_normal((size, size)) / 10}
    nodes = [
        oh.make_node("MatMul", ["state", "a"], ["kept"]),
        oh.make_node("MatMul", ["input", "b"], ["driven"]),
        oh.make_node("Add", ["kept", "driven"], ["state.next"]),
        oh.make_node("Identity", ["state.next"], ["output"]),
    ]
    infos = [
        oh.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [BATCH, size])
        for name in ("input", "state", "output", "state.next")
    ]
    held = [onnx.numpy_helper.from_array(a.astype(np.float32), name) for name, a in constants.items()]
    graph = oh.make_graph(nodes, "step", infos[:2], infos[2:], held)
    return build(
        oh.make_model(graph, opset_imports=[oh.make_opsetid("", OPSET)]), [StatePair("state", "state.next")]
    )


def test_a_recurrence_that_keeps_its_errors_gets_weights_in_int16() -> None:
    graph = _remembering()
    made = quantize(graph, FORMATS["w4a8"], calibration(graph))
    ways = {product.activation: way.name for product in made.products if (way := made.format.of(product))}
    assert ways == {"state": "w16", "input": "w4a8"}
    assert [each["format"] for each in made.to_json()["quantized"]] == ["w16", "w4a8"]
    assert not made.left


def test_a_recurrence_that_keeps_even_the_errors_of_int16_stays_in_float(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    graph = _remembering()
    monkeypatch.setattr("millstream.quantize.recurrence.MOST_DRIFT", 1e-7)
    made = quantize(graph, FORMATS["w4a8"], calibration(graph))
    assert [product.activation for product in made.products] == ["input"]
    (left,) = made.left
    assert "moves the state" in left.why


def test_a_weight_that_two_products_share_may_be_rounded_in_two_ways() -> None:
    graph = _product_graph(ternary=False)
    model = onnx.ModelProto()
    model.CopyFrom(graph.model)
    model.graph.node.insert(1, oh.make_node("MatMul", ["input", "w"], ["other"]))
    model.graph.output.insert(0, oh.make_tensor_value_info("other", onnx.TensorProto.FLOAT, [BATCH, OUTPUTS]))
    shared, seen = build(model, graph.states), calibration(graph)
    for ways in (("w8a8", "w4a8"), ("w8", "w4"), ("w4", "w4a8")):
        both: dict[str, Format] = dict(zip(("output", "other"), map(format_named, ways), strict=True))
        made = quantize(shared, mixed(both), seen)
        errors = relative_errors(shared, made.graph, ["output", "other"], seen)
        for name, way in both.items():
            alone = quantize(graph, way, seen)
            (error,) = relative_errors(graph, alone.graph, ["output"], seen).values()
            assert error / 2 < errors[name] < error * 2


def test_one_frame_is_enough_to_calibrate() -> None:
    graph = _product_graph(ternary=False)
    seen = calibration(graph)
    one = Calibration([seen.sequences[0][:1]], seen.initial)
    for format in FORMATS.values():
        if format.name != "ternary":
            assert quantize(graph, format, one).products


def test_nothing_to_quantize_is_told() -> None:
    constants = [onnx.numpy_helper.from_array(np.ones((3, 3), np.float32), "w")]
    infos = [oh.make_tensor_value_info(n, onnx.TensorProto.FLOAT, [BATCH, 3]) for n in ("input", "output")]
    nodes = [oh.make_node("MatMul", ["input", "w"], ["output"])]
    model = oh.make_model(
        oh.make_graph(nodes, "step", infos[:1], infos[1:], constants),
        opset_imports=[oh.make_opsetid("", OPSET)],
    )
    graph = build(model, [])
    with pytest.raises(NothingToQuantize, match="too small"):
        quantize(graph, FORMATS["w8"], calibration(graph))


def test_an_unknown_format_names_those_that_exist() -> None:
    with pytest.raises(UnknownFormat, match="w8a8-static"):
        format_named("int3")


def test_differences_are_seen() -> None:
    """The comparison of backends above is no formality: one weight moved by one step fails it."""
    graph = quantized_graph(_product_graph(ternary=False), FORMATS["w8a8"])
    x, state = _extreme(4), np.zeros((4, 1), np.float32)
    want = prepare(graph.model)({"input": x, "state": state})["output"]
    moved = onnx.ModelProto()
    moved.CopyFrom(graph.model)
    (weight,) = [
        i for i in moved.graph.initializer if i.data_type == onnx.TensorProto.INT8 and len(i.dims) > 1
    ]
    values = onnx.numpy_helper.to_array(weight).copy()
    values[0, 0] += 1 if values[0, 0] < 127 else -1
    weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
    got = prepare(moved)({"input": x, "state": state})["output"]
    assert (np.abs(got - want) > 1e-5 * np.abs(want).max(1, keepdims=True)).any()
