"""Single operators and the official ONNX cases through the Relax target, and what it refuses."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import onnx.helper as oh
import pytest
import relax_cases
from lowered_cases import operators
from relax_steps import TARGET, compiled, opened, spec_of

from millstream.float16 import loosened
from millstream.graph import IR_VERSION, OPSET, StepGraph, build, set_origin
from millstream.targets import relax


def _graph(
    nodes: Sequence[onnx.NodeProto], x: np.ndarray, result: tuple, **constants: np.ndarray
) -> StepGraph:
    """A step from x, like the given array, to y of (shape, dtype); the first axis is the batch."""

    def value(name: str, shape: Sequence[int], dtype: np.dtype) -> onnx.ValueInfoProto:
        kind = oh.np_dtype_to_tensor_dtype(np.dtype(dtype))
        return oh.make_tensor_value_info(name, kind, ["B", *shape[1:]])

    stored = [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()]
    body = oh.make_graph(nodes, "step", [value("x", x.shape, x.dtype)], [value("y", *result)], stored)
    return build(oh.make_model(body, opset_imports=[oh.make_opsetid("", OPSET)], ir_version=IR_VERSION), [])


def _run(graph: StepGraph, x: np.ndarray) -> np.ndarray:
    """What the compiled step makes of one x."""
    output = spec_of(graph).outputs[0]
    y = np.full((1, *output.shape), 99, output.dtype)
    opened(graph).bind([x], [], [y], [])()
    return y


def test_float16_is_summed_wide_and_rounded_once() -> None:
    """In float16, 2048 + 1 is 2048: a sum kept in float16 would never get past it."""
    x = np.ones((1, 4096), np.float16)
    nodes = [oh.make_node("MatMul", ["x", "w"], ["y"])]
    graph = _graph(nodes, x, ((1, 1), np.float16), w=np.ones((4096, 1), np.float16))
    assert _run(graph, x).item() == 4096
    assert loosened(compiled(graph).tolerance, graph, spec_of(graph)).relative == 2.0**-7
    assert compiled(graph).memory.weights == 4 * 4096


@pytest.mark.parametrize(("index", "row"), [(2, 2), (-1, 6), (-7, 0), (7, 6), (10**12, 6), (-(10**12), 0)])
def test_an_index_never_leaves_its_table(index: int, row: int) -> None:
    table = np.arange(7 * 16, dtype=np.float32).reshape(7, 16)
    graph = _graph(
        [oh.make_node("Gather", ["table", "x"], ["y"])],
        np.zeros(1, np.int64),
        ((1, 16), np.float32),
        table=table,
    )
    np.testing.assert_array_equal(_run(graph, np.array([index])), table[row : row + 1])


@pytest.mark.parametrize("operator", ["ScatterElements", "ScatterND"])
def test_updates_never_leave_their_tensor(operator: str) -> None:
    """Negative places count from the end, in ScatterElements too; places beyond are the last."""
    indices = np.array([[0, -1, 1000]])
    given = indices[0][None, :, None] if operator == "ScatterND" else indices
    data, updates = np.zeros(9, np.float32), np.array([1, 2, 3], np.float32)
    nodes = [
        oh.make_node("Squeeze", ["x", "first"], ["places"]),
        oh.make_node(operator, ["data", "places", "updates"], ["scattered"]),
        oh.make_node("Unsqueeze", ["scattered", "first"], ["y"]),
    ]
    graph = _graph(
        nodes, given, ((1, 9), np.float32), data=data, updates=updates, first=np.array([0], np.int64)
    )
    (y,) = _run(graph, given)
    assert y[0] == 1
    assert y[8] in (2, 3)
    assert not y[1:8].any()


def test_loops_that_wrap_round_at_a_power_of_two_are_right() -> None:
    """LLVM makes vectors of such loops, and with indices of 32 bits it passed over where they wrap round."""
    for shape, repeats in (
        ((1, 5, 8), (1, 8, 8)),
        ((1, 8, 2, 8), (1, 6, 7, 8)),
        ((1, 5, 4, 1), (1, 2, 6, 4)),
    ):
        x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
        expected = np.tile(x, repeats)
        nodes = [oh.make_node("Tile", ["x", "repeats"], ["y"])]
        graph = _graph(nodes, x, (expected.shape, np.float32), repeats=np.array(repeats))
        np.testing.assert_array_equal(_run(graph, x), expected)


def test_every_gap_is_told_with_its_origin_and_tvm_keeps_quiet(capfd: pytest.CaptureFixture[str]) -> None:
    x = np.zeros((1, 4), np.float32)
    nodes = [
        oh.make_node("Celu", ["x"], ["a"], name="bent"),
        oh.make_node("IsInf", ["a"], ["b"], name="above", detect_negative=0),
        oh.make_node("Cast", ["b"], ["c"], to=onnx.TensorProto.FLOAT),
        oh.make_node("Pow", ["c", "two"], ["d"], name="squared"),
        oh.make_node("Add", ["d", "a"], ["y"]),
    ]
    for node, path in zip(nodes, ("front", "front.check", "", "back", ""), strict=True):
        set_origin(node, path)
    gaps = relax.gaps(_graph(nodes, x, ((1, 4), np.float32), two=np.array(2, np.int32)), TARGET)
    assert [(gap.operator, gap.node, gap.origin) for gap in gaps] == [
        ("Celu", "bent", "front"),
        ("IsInf", "above", "front.check"),
        ("Pow", "squared", "back"),
    ]
    assert not any("Traceback" in gap.why or "\n" in gap.why for gap in gaps)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("shape", "sizes", "settings"),
    [
        ((1, 2, 4, 4, 4), (1, 2, 8, 8, 8), {"mode": "cubic", "exclude_outside": 1}),
        ((1, 2, 4, 4), (1, 4, 8, 8), {"mode": "linear"}),
        ((1, 2, 4, 4), (1, 2, 2, 2), {"mode": "linear", "antialias": 1}),
    ],
)
def test_a_resize_that_tvm_gets_wrong_is_refused(shape: tuple, sizes: tuple, settings: dict) -> None:
    nodes = [oh.make_node("Resize", ["x", "", "", "sizes"], ["y"], **settings)]
    graph = _graph(nodes, np.zeros(shape, np.float32), (sizes, np.float32), sizes=np.array(sizes))
    (gap,) = relax.gaps(graph, TARGET)
    assert "TVM" in gap.why


@pytest.mark.slow
def test_official_cases_that_the_lowering_refuses() -> None:
    """They come out right or are refused, and it is known which operators come through."""
    cases = relax_cases.refused_by_lowering()
    verdicts = {name: relax_cases.verdict(case) for name, case in cases.items()}
    assert not {name: verdict.wrong for name, verdict in verdicts.items() if verdict.wrong}
    taken = {operator for name, v in verdicts.items() if v.right for operator in operators(cases[name])}
    of_float16 = {"Cast", "CastLike", "IsInf", "IsNaN", "Max", "Min", "Mod"}
    assert taken == {*of_float16, "GridSample", "Resize", "Dropout"}  # of an old opset, the last


@pytest.mark.slow
def test_a_sample_of_the_official_cases_that_the_lowering_takes() -> None:
    verdicts = {name: relax_cases.verdict(case) for name, case in relax_cases.sample(30).items()}
    assert not {name: verdict.wrong for name, verdict in verdicts.items() if verdict.wrong}
    assert sum(verdict.right for verdict in verdicts.values()) > len(verdicts) * 3 // 4
