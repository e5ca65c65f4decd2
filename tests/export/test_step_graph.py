"""The contract of a step graph: what `check` accepts, and every breach it names."""

from __future__ import annotations

import onnx
import onnx.helper
import pytest
from onnx import TensorProto

from millstream import coarse
from millstream.errors import GraphInvalid
from millstream.graph import OPSET, StatePair, StepGraph, build


def _value(name: str, shape: list[int | str], dtype: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return onnx.helper.make_tensor_value_info(name, dtype, shape)


def _model(
    state: onnx.ValueInfoProto | None = None,
    after: onnx.ValueInfoProto | None = None,
    node: onnx.NodeProto | None = None,
    opset: int = OPSET,
) -> onnx.ModelProto:
    """input + state -> output, and the next state is the output."""
    nodes = [
        onnx.helper.make_node("Add", ["input", "state"], ["output"]),
        node or onnx.helper.make_node("Identity", ["output"], ["state.next"]),
    ]
    graph = onnx.helper.make_graph(
        nodes,
        "step",
        [_value("input", ["B", 3]), state or _value("state", ["B", 3])],
        [_value("output", ["B", 3]), after or _value("state.next", ["B", 3])],
    )
    imports = [onnx.helper.make_opsetid("", opset), onnx.helper.make_opsetid(coarse.DOMAIN, 1)]
    return onnx.helper.make_model(graph, opset_imports=imports)


_PAIR = [StatePair("state", "state.next")]


def test_a_sound_graph_is_read_back() -> None:
    graph = build(_model(), _PAIR)
    assert graph.states == (StatePair("state", "state.next"),)
    assert [t.name for t in graph.inputs] == ["input"]
    assert [t.name for t in graph.outputs] == ["output"]
    assert graph.batch is None
    assert graph.specialize(1).batch == 1


def test_the_bytes_and_the_hash_are_the_same_every_time() -> None:
    assert build(_model(), _PAIR).to_bytes() == build(_model(), _PAIR).to_bytes()
    assert build(_model(), _PAIR).sha256() == build(_model(), _PAIR).sha256()


def test_state_pairs_come_from_the_metadata_and_not_from_names() -> None:
    bare = StepGraph(_model())
    assert bare.states == ()


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (_model(opset=20), "opset 20"),
        (_model(state=_value("state", ["B", "K"]), after=_value("state.next", ["B", "K"])), "symbolic"),
        (_model(after=_value("state.next", ["B", 3], TensorProto.DOUBLE)), "elem type"),
        (
            _model(node=onnx.helper.make_node("Nothing", ["output"], ["state.next"], domain=coarse.DOMAIN)),
            "no body",
        ),
    ],
    ids=["opset", "symbolic dimension", "dtype of the next state", "function without body"],
)
def test_a_breach_is_named(model: onnx.ModelProto, message: str) -> None:
    with pytest.raises(GraphInvalid, match=message):
        build(model, _PAIR)


def test_states_must_come_last_and_in_order() -> None:
    with pytest.raises(GraphInvalid, match="last graph inputs"):
        build(_model(), [StatePair("input", "output")])


def test_control_flow_is_refused() -> None:
    body = onnx.helper.make_graph(
        [onnx.helper.make_node("Identity", ["output"], ["inner"])], "branch", [], [_value("inner", ["B", 3])]
    )
    node = onnx.helper.make_node("If", ["flag"], ["state.next"], then_branch=body, else_branch=body)
    model = _model(node=node)
    model.graph.initializer.append(onnx.helper.make_tensor("flag", TensorProto.BOOL, [], [True]))
    with pytest.raises(GraphInvalid, match="control flow"):
        build(model, _PAIR)


def test_coarse_functions_flatten_to_primitives() -> None:
    node = onnx.helper.make_node(
        "LinearMemory", ["output", "A", "b", "state"], ["state.next"], domain=coarse.DOMAIN
    )
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Neg", ["input"], ["output"]), node],
        "step",
        [_value("input", ["B", 1]), _value("state", ["B", 2])],
        [_value("output", ["B", 1]), _value("state.next", ["B", 2])],
        [
            onnx.helper.make_tensor("A", TensorProto.FLOAT, [2, 2], [1.0, 2.0, 3.0, 4.0]),
            onnx.helper.make_tensor("b", TensorProto.FLOAT, [2], [5.0, 6.0]),
        ],
    )
    imports = [onnx.helper.make_opsetid("", OPSET), onnx.helper.make_opsetid(coarse.DOMAIN, 1)]
    step = build(onnx.helper.make_model(graph, opset_imports=imports), _PAIR, coarse.functions())
    assert [function.name for function in step.model.functions] == ["LinearMemory"]
    flat = step.flatten()
    assert not flat.model.functions
    assert {node.domain for node in flat.model.graph.node} == {""}
