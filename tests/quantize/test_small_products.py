"""Products that are too small for integer sums, or whose sums do not halve: what their weights become."""

from __future__ import annotations

import itertools

import numpy as np
import onnx
import onnx.helper as oh
import onnx.numpy_helper
import pytest
from every_backend import EVERY_BACKEND, first_output
from quantized_graphs import calibration

from millstream import lower
from millstream.graph import BATCH, OPSET, StepGraph, build
from millstream.quantize import FORMATS, quantize
from millstream.quantize.product import find
from millstream.reference.interpreter import prepare
from millstream.targets import numba as numba_half
from millstream_runtime import plan


def _graph(*sizes: int, values: tuple[float, ...] = ()) -> StepGraph:
    """Products one behind the other, of Gaussian weights or of some values."""
    rng = np.random.default_rng(0)
    nodes, held = [], []
    for place, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
        shape = inputs, outputs
        weight = rng.choice(values, shape) if values else rng.standard_normal(shape) / np.sqrt(inputs)
        held.append(onnx.numpy_helper.from_array(weight.astype(np.float32), f"w{place}"))
        names = [f"x{place}" if place else "input", f"w{place}"]
        nodes.append(oh.make_node("MatMul", names, [f"x{place + 1}"]))
    nodes.append(oh.make_node("Identity", [nodes[-1].output[0]], ["output"]))
    infos = [
        oh.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [BATCH, size])
        for name, size in (("input", sizes[0]), ("output", sizes[-1]))
    ]
    made = oh.make_graph(nodes, "step", infos[:1], infos[1:], held)
    return build(oh.make_model(made, opset_imports=[oh.make_opsetid("", OPSET)]), [])


@pytest.mark.parametrize("name", ["w8a8", "w8a8-static", "w4", "w4-groups", "w4a8"])
def test_a_small_product_gets_weights_in_int8(name: str) -> None:
    """40 x 30 is large enough; 30 x 24 has fewer than 1,024 weights, and 24 x 12 fewer than 16 outputs."""
    graph = _graph(40, 30, 24, 12)
    made = quantize(graph, FORMATS[name], calibration(graph))
    assert [each["format"] for each in made.to_json()["quantized"]] == [name, "w8", "w8"]


@pytest.mark.parametrize(("inputs", "outputs", "found"), [(16, 16, 1), (16, 15, 0), (5, 200, 1), (3, 200, 0)])
def test_integers_must_save_more_than_they_cost(inputs: int, outputs: int, found: int) -> None:
    products, left = find(_graph(inputs, outputs))
    assert (len(products), len(left)) == (found, 1 - found)


def _packed(graph: StepGraph, name: str) -> tuple[StepGraph, int]:
    """The quantized graph, and the bytes of its weights in the kernels."""
    made = quantize(graph, FORMATS[name], calibration(graph)).graph
    lowered = lower.lower(made)
    files = numba_half.compile_program(lowered.program, lowered.weights).files
    return made, sum(b.size for b in plan.load(files["plan.json"]).role("constant") if b.dtype == "uint8")


@pytest.mark.parametrize(("name", "factors"), [("w4", 0), ("w4-groups", 2)])
def test_odd_sums_of_int4_share_bytes(name: str, factors: int) -> None:
    """Sums of 95 are filled up to 96; those of 48 are halves of that, with a factor for each output."""
    made, size = _packed(_graph(95, 36), name)
    assert size == 96 * 36 // 2 + factors * 36
    _same_everywhere(made, 95)


@pytest.mark.parametrize("name", ["w8", "w4"])
def test_ternary_weights_share_bytes_in_every_format_and_are_exact(name: str) -> None:
    exact = _graph(95, 36, values=(-0.3, 0, 0.3))
    made, size = _packed(exact, name)
    assert size == 96 * 36 // 4
    x = calibration(exact).sequences[0]
    want, got = (prepare(graph.model)({"input": x})["output"] for graph in (exact, made))
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)
    _same_everywhere(made, 95)


def _same_everywhere(made: StepGraph, inputs: int) -> None:
    x = np.random.default_rng(3).standard_normal((3, inputs)).astype(np.float32)
    want = prepare(made.model)({"input": x})["output"]
    for name in EVERY_BACKEND:
        got = first_output(made, name, x)
        assert (np.abs(got - want) <= 1e-5 * np.abs(want).max(1, keepdims=True)).all(), name
