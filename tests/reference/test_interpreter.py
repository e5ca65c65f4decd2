"""Running whole models: model-local functions, refusals, and the reference as an opened step."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.helper as oh
import pytest
from one_node import model

from millstream import reference
from millstream.errors import DataInvalid, GraphInvalid, UnsupportedOperators
from millstream_runtime.spec import ModelSpec, StateSpec, TensorSpec

_X = {"x": np.array([[1.0, -2.0, 3.0]], np.float32)}


def _function(name: str, body: list[onnx.NodeProto], **options: object) -> onnx.FunctionProto:
    return oh.make_function("local", name, ["a"], ["b"], body, [oh.make_opsetid("", 21)], **options)


def _referring(node: onnx.NodeProto, attribute: str, to: str, kind: int) -> onnx.NodeProto:
    node.attribute.add(name=attribute, ref_attr_name=to, type=kind)
    return node


def _leaky(default: bool) -> onnx.FunctionProto:
    node = _referring(oh.make_node("LeakyRelu", ["a"], ["b"]), "alpha", "slope", onnx.AttributeProto.FLOAT)
    if default:
        return _function("Leaky", [node], attribute_protos=[oh.make_attribute("slope", 0.25)])
    return _function("Leaky", [node], attributes=["slope"])


@pytest.mark.parametrize(
    ("given", "default", "slope"),
    [({"slope": 0.5}, True, 0.5), ({}, True, 0.25), ({}, False, 0.01), ({"slope": 0.5}, False, 0.5)],
)
def test_attribute_of_a_function_is_given_or_its_default_or_the_operators(
    given: dict[str, float], default: bool, slope: float
) -> None:
    node = oh.make_node("Leaky", ["x"], ["y"], domain="local", **given)
    result = reference.evaluate(model([node], _X, ["y"], functions=[_leaky(default)]), _X)
    np.testing.assert_array_equal(result["y"], np.array([[1, -2 * slope, 3]], np.float32))


def test_a_function_may_call_another_and_names_inside_are_its_own() -> None:
    call = oh.make_node("Leaky", ["a"], ["x"], domain="local", slope=0.5)
    outer = _function("Outer", [call, oh.make_node("Neg", ["x"], ["b"])])
    outer.opset_import.append(oh.make_opsetid("local", 1))
    nodes = [oh.make_node("Outer", ["x"], ["h"], domain="local"), oh.make_node("Add", ["h", "x"], ["y"])]
    result = reference.evaluate(model(nodes, _X, ["y"], functions=[outer, _leaky(True)]), _X)
    np.testing.assert_array_equal(result["y"], np.array([[0, -1, 0]], np.float32))


def test_everything_unsupported_is_named_at_once() -> None:
    inner = _function("Inner", [oh.make_node("Det", ["a"], ["b"], name="inside")])
    nodes = [
        oh.make_node("NonZero", ["x"], ["i"], name="first"),
        oh.make_node("Inner", ["x"], ["h"], domain="local", name="call"),
        oh.make_node("Relu", ["x"], ["r"], name="fine"),
        oh.make_node("Softmax", ["x"], ["s"], name="odd", temperature=2.0),
        oh.make_node("Mystery", ["x"], ["y"], domain="elsewhere"),
    ]
    whole = model(nodes, _X, ["y"], functions=[inner])
    found = [(gap.node, gap.operator) for gap in reference.unsupported(whole)]
    assert found == [("first", "NonZero"), ("odd", "Softmax"), ("y", "Mystery"), ("inside", "Det")]
    with pytest.raises(UnsupportedOperators) as refusal:
        reference.prepare(whole)
    for text in ("first", "inside", "temperature", "Mystery"):
        assert text in str(refusal.value)


def test_a_missing_input_is_named() -> None:
    with pytest.raises(DataInvalid, match="x"):
        reference.evaluate(model([oh.make_node("Relu", ["x"], ["y"])], _X, ["y"]), {})


def test_a_node_that_cannot_run_is_named() -> None:
    node = oh.make_node("MatMul", ["x", "x"], ["y"], name="product")
    with pytest.raises(GraphInvalid, match="MatMul at node product"):
        reference.evaluate(model([node], _X, ["y"]), _X)


def test_an_output_that_nothing_computes_is_named() -> None:
    with pytest.raises(GraphInvalid, match="nowhere"):
        reference.evaluate(model([oh.make_node("Relu", ["x"], ["y"])], _X, ["nowhere"]), _X)


def test_a_prepared_model_is_not_changed_by_its_callers() -> None:
    whole = model([oh.make_node("Identity", ["w"], ["y"])], {}, ["y"])
    whole.graph.initializer.append(oh.make_tensor("w", onnx.TensorProto.FLOAT, [3], [1, 1, 1]))
    run = reference.prepare(whole)
    with pytest.raises(ValueError, match="read-only"):
        run({})["y"][0] = 7
    np.testing.assert_array_equal(run({})["y"], 1)


def _accumulator() -> onnx.ModelProto:
    nodes = [oh.make_node("Add", ["x", "sum"], ["sum_next"]), oh.make_node("Neg", ["sum_next"], ["y"])]
    return model(nodes, _X | {"sum": np.zeros((1, 3), np.float32)}, ["y", "sum_next"])


_SPEC = ModelSpec(
    name="accumulator",
    inputs=(TensorSpec("x", (3,), "float32"),),
    outputs=(TensorSpec("y", (3,), "float32"),),
    states=(StateSpec("sum", "sum_next", (3,), "float32", 0.0),),
)


def test_an_opened_step_runs_in_the_callers_arrays() -> None:
    step = reference.open(_accumulator().SerializeToString(), _SPEC)
    x, y, ping, pong = (np.zeros((1, 3), np.float32) for _ in range(4))
    forth, back = step.bind([x], [ping], [y], [pong]), step.bind([x], [pong], [y], [ping])
    for count in range(1, 5):
        x[:] = [[1, 10, 100]]
        (forth if count % 2 else back)()
        np.testing.assert_array_equal(y, [[-count, -10 * count, -100 * count]])


@pytest.mark.parametrize("wrong", [np.zeros((2, 3), np.float32), np.zeros((1, 3), np.float64)])
def test_an_array_of_the_wrong_kind_is_never_filled(wrong: np.ndarray) -> None:
    step = reference.open(_accumulator(), _SPEC)
    x, ping, pong = (np.zeros((1, 3), np.float32) for _ in range(3))
    with pytest.raises(GraphInvalid, match="y"):
        step.bind([x], [ping], [wrong], [pong])()
