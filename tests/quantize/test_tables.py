"""Tables whose rows are looked up: 8 bits or more in every format, the same numbers everywhere."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.helper as oh
import onnx.numpy_helper
import pytest
from every_backend import EVERY_BACKEND, first_output

from millstream.graph import BATCH, OPSET, StatePair, StepGraph, build, initializers
from millstream.quantize import FORMATS, Quantized, flattened, quantize
from millstream.quantize.calibration import Calibration
from millstream.quantize.layers import layers
from millstream.quantize.product import find, unknown
from millstream.quantize.rounding import to_int8
from millstream.quantize.static import quantize_statically
from millstream.reference.interpreter import prepare

ROWS, WIDTH, OUTPUTS = 50, 40, 36
SEEN = Calibration([np.arange(ROWS)], [np.zeros(1, np.float32)])
FLOATS = [name for name, format in FORMATS.items() if not format.whole]


def _graph(axis: int = 0) -> StepGraph:
    """output = table[input] W, rows of very different sizes, one of them 0; a state counts."""
    rng = np.random.default_rng(0)
    table = rng.standard_normal((ROWS, WIDTH)) * 10.0 ** rng.integers(-3, 4, (ROWS, 1))
    table[7] = 0
    constants = {"table": table if axis == 0 else table.T, "w": rng.choice([-0.5, 0, 0.5], (WIDTH, OUTPUTS))}
    look_up = [oh.make_node("Gather", ["table", "input"], ["row"], axis=axis)]
    if axis:
        look_up = [
            oh.make_node("Gather", ["table", "input"], ["column"], axis=axis),
            oh.make_node("Transpose", ["column"], ["row"]),
        ]
    nodes = [
        *look_up,
        oh.make_node("MatMul", ["row", "w"], ["output"]),
        oh.make_node("Add", ["state", "one"], ["state.next"]),
    ]
    constants["one"] = np.ones(1)
    inputs = [
        oh.make_tensor_value_info("input", onnx.TensorProto.INT64, [BATCH]),
        oh.make_tensor_value_info("state", onnx.TensorProto.FLOAT, [BATCH, 1]),
    ]
    outputs = [
        oh.make_tensor_value_info("output", onnx.TensorProto.FLOAT, [BATCH, OUTPUTS]),
        oh.make_tensor_value_info("state.next", onnx.TensorProto.FLOAT, [BATCH, 1]),
    ]
    held = [onnx.numpy_helper.from_array(a.astype(np.float32), name) for name, a in constants.items()]
    model = oh.make_model(
        oh.make_graph(nodes, "step", inputs, outputs, held), opset_imports=[oh.make_opsetid("", OPSET)]
    )
    return build(model, [StatePair("state", "state.next")])


def _made(name: str) -> Quantized:
    return quantize(_graph(), FORMATS[name], SEEN)


def _table(made: Quantized) -> np.ndarray:
    """The integers of the table in the quantized graph."""
    (held,) = [a for a in initializers(made.graph.model).values() if a.shape == (ROWS, WIDTH)]
    return held


@pytest.mark.parametrize("name", FLOATS)
def test_a_table_is_int8_and_int16_where_all_is(name: str) -> None:
    made = _made(name)
    assert _table(made).dtype == (np.int16 if name == "w16" else np.int8)
    told = {each["operator"]: each["format"] for each in made.to_json()["quantized"]}
    assert told == {"Gather": "w16" if name == "w16" else "w8", "MatMul": name}
    assert not made.left


def test_each_row_is_half_a_step_away_at_most() -> None:
    made = _made("w8")
    (product,) = [product for product in made.products if product.is_lookup]
    exact = initializers(made.original.model)["table"]
    step = np.abs(exact).max(1, keepdims=True) / 127
    (layer, _) = layers(made.prepared, made.graph, made.format, made.products, SEEN)
    assert layer.result == product.output
    # Noise that is even between -1/2 and 1/2 step is a twelfth of the step's square.
    noise = np.square(exact).mean() / 10 ** ((layer.alone or 0) / 10)
    assert noise == pytest.approx(np.square(step).mean() / 12, rel=0.2)


@pytest.mark.parametrize("backend", EVERY_BACKEND)
@pytest.mark.parametrize("name", ["w4a8", "w16"])
def test_the_same_numbers_everywhere(backend: str, name: str) -> None:
    made = _made(name).graph
    x, state = np.array([3, 7, 49, 0, -1]), np.zeros((5, 1), np.float32)
    want = prepare(made.model)({"input": x, "state": state})["output"]
    got = first_output(made, backend, x, state)
    assert (np.abs(got - want) <= 1e-5 * np.abs(want).max(1, keepdims=True)).all()


def test_columns_are_not_rows() -> None:
    """Their values would have the scales of other columns."""
    graph = _graph(axis=1)
    (products, _), left = find(graph), unknown(graph, ())
    assert [product.node.op_type for product in products] == ["MatMul"]
    assert [(weight.operator, weight.shape) for weight in left] == [("Gather", (WIDTH, ROWS))]


def test_a_static_range_is_that_of_what_is_multiplied() -> None:
    """A baseline that rounds every product alike reads the rows' numbers too, which are no activation."""
    flat = flattened(_graph())
    products = find(flat)[0]
    assert any(product.is_lookup for product in products)
    made = quantize_statically(flat, products, SEEN, lambda product, weight: to_int8(weight, product.channel))
    assert {node.op_type for node in made.model.graph.node} >= {"Gather", "QuantizeLinear", "MatMulInteger"}
