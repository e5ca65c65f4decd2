"""Operators in settings that no official case has: the lowered program against the reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx.helper as oh
import onnx.numpy_helper
import pytest

from millstream.graph import OPSET, StepGraph
from millstream.lower import gaps, lower
from millstream.lower.execute import execute
from millstream.lower.soundness import check_dataflow
from millstream.lower.translate import translate
from millstream.reference import evaluate

#: The reference rounds once, the program after each operation: a few roundings of values of order 1.
_BOUND = 2e-6

_Inputs = dict[str, np.ndarray]


def _normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def _graph(
    operator: str, inputs: _Inputs, stored: _Inputs, outputs: int = 1, **attributes: Any
) -> onnx.ModelProto:
    """A model of one node that reads `inputs`, then `stored`."""
    values = [
        oh.make_tensor_value_info(name, oh.np_dtype_to_tensor_dtype(x.dtype), x.shape)
        for name, x in inputs.items()
    ]
    results = [f"y{i}" for i in range(outputs)]
    node = oh.make_node(operator, [*inputs, *stored], results, **attributes)
    constants = [onnx.numpy_helper.from_array(x, name) for name, x in stored.items()]
    untyped = [onnx.ValueInfoProto(name=name) for name in results]
    graph = oh.make_graph([node], "graph", values, untyped, constants)
    return onnx.shape_inference.infer_shapes(
        oh.make_model(graph, opset_imports=[oh.make_opsetid("", OPSET)]), strict_mode=True
    )


def _agrees(model: onnx.ModelProto, inputs: _Inputs) -> None:
    check_dataflow(translate(StepGraph(model)).draft)
    lowered = lower(StepGraph(model))
    results, _ = execute(lowered.program, lowered.weights, list(inputs.values()), [])
    for result, expected in zip(results, evaluate(model, inputs).values(), strict=True):
        np.testing.assert_allclose(result, expected.ravel(), rtol=_BOUND, atol=_BOUND)


@pytest.mark.parametrize("p", [1, 2, 3])
def test_global_norm_pooling(p: int) -> None:
    inputs = {"x": _normal(1, 3, 5, 7)}
    _agrees(_graph("GlobalLpPool", inputs, {}, p=p), inputs)


def test_mean_variance_normalization_over_given_axes() -> None:
    inputs = {"x": _normal(1, 5, 7, 3)}
    _agrees(_graph("MeanVarianceNormalization", inputs, {}, axes=[1, 3]), inputs)


@pytest.mark.parametrize("reduction", ["none", "add", "mul", "max", "min"])
@pytest.mark.parametrize("shape", [(2, 4), (3, 2)], ids=["longer", "narrower"])
def test_scatter_at_indices_that_are_computed(reduction: str, shape: tuple[int, int]) -> None:
    indices = np.array([[0, 2, -1, 1], [2, 0, 0, 1], [1, 1, 2, 0]], np.int64)[: shape[0], : shape[1]]
    if reduction == "none":
        indices[:, 1] = indices[:, 0]  # the last of several updates of one element stays
    inputs = {"x": _normal(3, 6), "indices": indices, "updates": _normal(*shape)}
    _agrees(_graph("ScatterElements", inputs, {}, axis=1, reduction=reduction), inputs)


@pytest.mark.parametrize("reduction", ["none", "add"])
def test_scatter_of_slices_at_indices_that_are_computed(reduction: str) -> None:
    indices = np.array([[[0, 1]], [[-1, 2]]], np.int64)
    inputs = {"x": _normal(3, 4, 5), "indices": indices, "updates": _normal(2, 1, 5)}
    _agrees(_graph("ScatterND", inputs, {}, reduction=reduction), inputs)


@pytest.mark.parametrize("count", [2, 11], ids=["copied", "looked up"])
def test_scatter_at_constant_indices(count: int) -> None:
    places = np.random.default_rng(0).permutation(23)[:count].reshape(-1, 1)
    inputs = {"x": _normal(23, 3)}
    _agrees(_graph("ScatterND", inputs, {"indices": places, "updates": _normal(count, 3)}), inputs)


@pytest.mark.parametrize(
    "places", [[4], [1, 3, 5], [0, 0, 0], [5, 4, 0, 1], [0, 5, 1, 4, 2, 3, 0, 2, 5, 1, 1, 4]]
)
def test_gather_at_constant_indices(places: list[int]) -> None:
    inputs = {"x": _normal(2, 6, 3)}
    _agrees(_graph("Gather", inputs, {"places": np.array(places)}, axis=1), inputs)


@pytest.mark.parametrize("largest", [0, 1])
def test_the_largest_of_numbers_with_nan_and_ties(largest: int) -> None:
    x = np.array([[2, np.nan, -1, 2, np.inf, np.nan, 0], [1, 1, 1, -np.inf, 1, 0, 1]], np.float32)
    model = _graph("TopK", {"x": x}, {"k": np.array([5])}, outputs=2, largest=largest)
    _agrees(model, {"x": x})


@pytest.mark.parametrize("mode", ["reflect", "edge", "wrap"])
@pytest.mark.parametrize("pads", [(2, 0, 3, 1), (-1, 4, 2, -2)], ids=["grown", "cropped"])
def test_padding_by_what_is_there(mode: str, pads: tuple[int, ...]) -> None:
    inputs = {"x": _normal(5, 6)}
    _agrees(_graph("Pad", inputs, {"pads": np.array(pads, np.int64)}, mode=mode), inputs)


@pytest.mark.parametrize("spatial", [((7,), (3,)), ((4, 5), (2, 3))])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_transposed_convolution(spatial: tuple[tuple[int, ...], tuple[int, ...]], stride: int) -> None:
    extents, kernel = spatial
    rank = len(extents)
    inputs = {"x": _normal(1, 4, *extents)}
    stored = {"w": _normal(4, 3, *kernel), "b": _normal(6)}
    attributes = {"group": 2, "strides": [stride] * rank, "dilations": [2] * rank, "pads": [1] * 2 * rank}
    _agrees(_graph("ConvTranspose", inputs, stored, **attributes), inputs)


@pytest.mark.parametrize("operator", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
def test_recurrences_with_every_operand(operator: str, direction: str) -> None:
    gates, directions = {"LSTM": 4, "GRU": 3, "RNN": 1}[operator], 1 + (direction == "bidirectional")
    inputs = {"x": _normal(3, 1, 5)}
    stored = {
        "w": _normal(directions, gates * 7, 5),
        "r": _normal(directions, gates * 7, 7),
        "b": _normal(directions, 2 * gates * 7),
        "lengths": np.array([3], np.int32),
        "h": _normal(directions, 1, 7),
    }
    if operator == "LSTM":
        stored |= {"c": _normal(directions, 1, 7), "p": _normal(directions, 21)}
    results = 3 if operator == "LSTM" else 2
    attributes = {"hidden_size": 7, "direction": direction, "clip": 0.8}
    _agrees(_graph(operator, inputs, stored, results, **attributes), inputs)


@pytest.mark.parametrize("linear_before_reset", [0, 1])
def test_a_gru_in_both_orders_of_reset(linear_before_reset: int) -> None:
    inputs = {"x": _normal(2, 1, 5)}
    stored = {"w": _normal(1, 21, 5), "r": _normal(1, 21, 7), "b": _normal(1, 42)}
    model = _graph("GRU", inputs, stored, 2, hidden_size=7, linear_before_reset=linear_before_reset)
    _agrees(model, inputs)


def test_an_lstm_with_coupled_gates() -> None:
    inputs = {"x": _normal(2, 1, 5)}
    stored = {"w": _normal(1, 28, 5), "r": _normal(1, 28, 7)}
    _agrees(_graph("LSTM", inputs, stored, 3, hidden_size=7, input_forget=1), inputs)


def test_log_sum_exp_of_infinities() -> None:
    inputs = {"x": np.array([[-np.inf, -np.inf], [np.inf, 1], [-np.inf, 2]], np.float32)}
    _agrees(_graph("ReduceLogSumExp", inputs, {"axes": np.array([1])}), inputs)


def test_integer_products_with_zero_points_of_rows_and_columns() -> None:
    rng = np.random.default_rng(1)
    inputs = {"a": rng.integers(0, 255, (2, 3, 5), np.uint8), "b": rng.integers(-128, 127, (5, 4), np.int8)}
    zeros = {"row": np.array([1, 100, 255], np.uint8), "column": np.array([-3, 0, 7, 127], np.int8)}
    _agrees(_graph("MatMulInteger", inputs, zeros), inputs)


@pytest.mark.parametrize(
    ("attributes", "stored", "why"),
    [
        ({"activations": ["HardSigmoid", "Tanh"]}, {}, "the activation hardsigmoid"),
        ({}, {"b": _normal(1, 42), "lengths": np.array([1], np.int32)}, "sequences shorter"),
    ],
)
def test_what_a_gru_cannot_have_is_a_gap(attributes: dict[str, Any], stored: _Inputs, why: str) -> None:
    weights = {"w": _normal(1, 21, 5), "r": _normal(1, 21, 7)}
    model = _graph("GRU", {"x": _normal(2, 1, 5)}, weights | stored, 2, hidden_size=7, **attributes)
    (gap,) = gaps(StepGraph(model))
    assert gap.why.startswith(why)
    assert gap.help
