"""Products whose noise is blown up by what follows get a wider format."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import onnx.helper as oh
import onnx.numpy_helper
import pytest

from millstream.errors import NothingToQuantize
from millstream.graph import BATCH, OPSET, StepGraph, build
from millstream.quantize import FORMATS, quantize
from millstream.quantize.calibration import Calibration
from millstream.quantize.error import Gap, relative_errors
from millstream.quantize.formats import Format
from millstream.quantize.mixed import mixed
from millstream.quantize.product import find
from millstream.quantize.sensitivity import sensitive

INPUTS, BANDS, OUTPUTS = 64, 36, 36


def _graph() -> StepGraph:
    """output = log(input² M + 1e-6) W: energies in bands of up to six inputs, far apart in size."""
    rng = np.random.default_rng(0)
    places = np.abs(np.arange(INPUTS)[:, None] - np.linspace(0, INPUTS, BANDS))
    constants = {
        "m": np.maximum(1 - places / 3, 0),
        "w": rng.standard_normal((BANDS, OUTPUTS)) / 6,
        "floor": np.array(1e-6),
    }
    nodes = [
        oh.make_node("Mul", ["input", "input"], ["energy"]),
        oh.make_node("MatMul", ["energy", "m"], ["bands"]),
        oh.make_node("Add", ["bands", "floor"], ["lifted"]),
        oh.make_node("Log", ["lifted"], ["level"]),
        oh.make_node("MatMul", ["level", "w"], ["output"]),
    ]
    return _built(nodes, constants)


def _built(nodes: list[onnx.NodeProto], constants: dict[str, np.ndarray]) -> StepGraph:
    """A step from input to output; constants that are no integers in float32."""
    infos = [
        oh.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [BATCH, size])
        for name, size in (("input", INPUTS), ("output", OUTPUTS))
    ]
    dtypes = {name: np.float32 if a.dtype.kind == "f" else a.dtype for name, a in constants.items()}
    held = [onnx.numpy_helper.from_array(a.astype(dtypes[name]), name) for name, a in constants.items()]
    made = oh.make_graph(nodes, "step", infos[:1], infos[1:], held)
    return build(oh.make_model(made, opset_imports=[oh.make_opsetid("", OPSET)]), [])


def _seen() -> Calibration:
    """Frames whose inputs are loud or quiet."""
    rng = np.random.default_rng(1)
    frames = rng.standard_normal((200, INPUTS)) * 10.0 ** rng.uniform(-3, 0, (1, INPUTS))
    return Calibration([frames.astype(np.float32)], [])


@pytest.mark.parametrize("name", ["w8a8", "w4a8", "w4"])
def test_energies_before_a_logarithm_are_not_rounded_coarsely(name: str) -> None:
    graph, seen, format = _graph(), _seen(), FORMATS[name]
    made = quantize(graph, format, seen)
    ways = {product.output: way.name for product in made.products if (way := made.format.of(product))}
    assert ways == {"bands": "w8", "output": name}
    (error,) = relative_errors(graph, made.graph, ["output"], seen).values()
    assert error < format.max_error
    # In the format itself they would be.
    own = mixed(dict.fromkeys(ways, format)).rewrite(made.prepared, made.products, seen)
    (lost,) = relative_errors(graph, own, ["output"], seen).values()
    assert lost > format.max_error


def _normalized() -> tuple[StepGraph, Calibration]:
    """output = tanh(y / RMS(y)) W with y = input U, on frames that are loud or a hundred times quieter."""
    rng = np.random.default_rng(2)
    constants = {"u": rng.standard_normal((INPUTS, BANDS)), "w": rng.standard_normal((BANDS, OUTPUTS)) / 6}
    constants |= {"axis": np.array([-1])}
    nodes = [
        oh.make_node("MatMul", ["input", "u"], ["mixed"]),
        oh.make_node("Mul", ["mixed", "mixed"], ["squares"]),
        oh.make_node("ReduceMean", ["squares", "axis"], ["power"]),
        oh.make_node("Sqrt", ["power"], ["size"]),
        oh.make_node("Div", ["mixed", "size"], ["even"]),
        oh.make_node("Tanh", ["even"], ["held"]),
        oh.make_node("MatMul", ["held", "w"], ["output"]),
    ]
    frames = rng.standard_normal((200, INPUTS)) * rng.choice([1.0, 0.01], (200, 1))
    return _built(nodes, constants), Calibration([frames.astype(np.float32)], [])


def test_what_no_constant_scale_serves_gets_one_at_every_step() -> None:
    """A quiet frame would be a few steps of int8; scaled at every step it is as fine as a loud one."""
    graph, seen = _normalized()
    made = quantize(graph, FORMATS["w8a8-static"], seen)
    ways = {product.output: way.name for product in made.products if (way := made.format.of(product))}
    assert ways == {"mixed": "w8a8", "output": "w8a8-static"}
    (error,) = relative_errors(graph, made.graph, ["output"], seen).values()
    assert error < FORMATS["w8a8"].max_error


def test_where_no_format_serves_any_product_it_is_told_why() -> None:
    with pytest.raises(NothingToQuantize, match="w16 alone moves an output"):
        quantize(_graph(), replace(FORMATS["w8a8"], max_error=1e-9), _seen())


def test_weights_of_a_ternary_model_that_are_not_ternary_are_not_given_another_format() -> None:
    made = quantize(_graph(), FORMATS["ternary"], _seen())
    assert {way.name for p in made.products if (way := made.format.of(p))} == {"ternary"}


def test_what_is_not_a_number_is_infinitely_far_and_what_is_so_in_both_is_not() -> None:
    gap, inf = Gap(), np.inf
    gap.add("same", np.array([np.nan, -inf, 2.0]), np.array([np.nan, -inf, 2.0]))
    gap.add("one", np.array([np.nan, 1.0]), np.array([1.0, 1.0]))
    gap.add("other", np.array([1.0, 1.0]), np.array([1.0, -inf]))
    gap.add("near", np.array([-inf, 1.1]), np.array([-inf, 1.0]))
    assert gap.relative() == {"same": 0, "one": inf, "other": inf, "near": pytest.approx(0.1)}


def test_where_all_together_are_near_enough_no_product_is_tried_alone() -> None:
    """Alone each of them is beyond the bound below, together they are called near enough."""
    graph, seen, tried = _graph(), _seen(), []
    products, _ = find(graph)
    format = FORMATS["w8"]

    def write(graph, some, calibration, rounding):
        tried.append(len(some))
        return format.write(graph, some, calibration, rounding)

    watched: Format = replace(format, write=write)
    assert sensitive(graph, products, watched, seen, 1.0) == {}
    assert tried == [2]
    assert sensitive(graph, products, watched, seen, 1e-9).keys() == {"bands", "output"}
    assert tried == [2, 2, 1, 1]
