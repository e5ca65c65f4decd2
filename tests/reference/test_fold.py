"""Constant folding: the same values from fewer nodes, and nothing else changed."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.helper as oh
import pytest
from official_cases import all_cases, array, exclusion
from one_node import model
from onnx.backend.test.case.test_case import TestCase as Case

from millstream.fold import fold_constants
from millstream.reference import evaluate

_X = {"x": np.arange(6, dtype=np.float32).reshape(2, 3)}
_EXPANDED = [case for case in all_cases() if case.name.endswith("_expanded") and not exclusion(case)]


def _operators(whole: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in whole.graph.node]


def _same_values(whole: onnx.ModelProto, folded: onnx.ModelProto) -> None:
    before, after = evaluate(whole, _X), evaluate(folded, _X)
    assert list(before) == list(after)
    for name in before:
        np.testing.assert_array_equal(before[name], after[name])


@pytest.mark.parametrize("case", _EXPANDED, ids=lambda case: case.name)
def test_folding_keeps_the_values_of_official_cases(case: Case) -> None:
    given = dict(
        zip([value.name for value in case.model.graph.input], map(array, case.data_sets[0][0]), strict=True)
    )
    folded = fold_constants(case.model)
    assert "Constant" not in _operators(folded)
    for name, value in evaluate(case.model, given).items():
        np.testing.assert_array_equal(evaluate(folded, given)[name], value)


def test_a_chain_of_constants_becomes_one_initializer() -> None:
    nodes = [
        oh.make_node("Constant", [], ["two"], value_float=2.0),
        oh.make_node("Exp", ["two"], ["e"]),
        oh.make_node("Add", ["e", "w"], ["sum"]),
        oh.make_node("Mul", ["x", "sum"], ["y"]),
    ]
    whole = model(nodes, _X, ["y"], {"w": np.ones(3, np.float32), "unused": np.zeros(9, np.float32)})
    folded = fold_constants(whole)
    assert _operators(folded) == ["Mul"]
    assert [item.name for item in folded.graph.initializer] == ["sum"]
    _same_values(whole, folded)


def test_known_extents_fold_and_make_others_known() -> None:
    nodes = [
        oh.make_node("Shape", ["x"], ["shape"]),
        oh.make_node("Size", ["x"], ["size"]),
        oh.make_node("Unsqueeze", ["size", "zero"], ["extent"]),
        oh.make_node("Concat", ["extent", "one"], ["target"], axis=0),
        oh.make_node("Reshape", ["x", "target"], ["tall"]),
        oh.make_node("Shape", ["tall"], ["tall_shape"]),
        oh.make_node("Expand", ["x", "shape"], ["same"]),
    ]
    constants = {"one": np.array([1]), "zero": np.array([0])}
    whole = model(nodes, _X, ["tall", "tall_shape", "same"], constants)
    folded = fold_constants(whole)
    assert _operators(folded) == ["Reshape", "Expand"]
    _same_values(whole, folded)


def test_a_symbolic_batch_stays_and_the_static_part_of_its_shape_folds() -> None:
    nodes = [
        oh.make_node("Shape", ["x"], ["whole_shape"]),
        oh.make_node("Shape", ["x"], ["width"], start=1),
        oh.make_node("Shape", ["x"], ["batch"], end=1),
    ]
    whole = model(nodes, _X, ["whole_shape", "width", "batch"])
    whole.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "B"
    folded = fold_constants(whole)
    assert [node.output[0] for node in folded.graph.node] == ["whole_shape", "batch"]
    _same_values(whole, folded)


def test_copies_disappear_and_outputs_keep_their_names() -> None:
    nodes = [
        oh.make_node("Relu", ["x"], ["a"]),
        oh.make_node("Identity", ["a"], ["b"]),
        oh.make_node("Dropout", ["b", "", "off"], ["c"]),
        oh.make_node("Neg", ["c"], ["d"]),
        oh.make_node("Identity", ["d"], ["y"]),
        oh.make_node("Exp", ["d"], ["z"]),
    ]
    whole = model(nodes, _X, ["y", "z"], {"off": np.array(False)})
    folded = fold_constants(whole)
    assert _operators(folded) == ["Relu", "Neg", "Exp"]
    assert [value.name for value in folded.graph.output] == ["y", "z"]
    assert not folded.graph.initializer
    _same_values(whole, folded)


def test_copies_that_outputs_need_stay() -> None:
    nodes = [
        oh.make_node("Identity", ["x"], ["input_passed_on"]),
        oh.make_node("Relu", ["x"], ["y"]),
        oh.make_node("Identity", ["y"], ["y_again"]),
        oh.make_node("Exp", ["x"], ["e"]),
        oh.make_node("Dropout", ["e"], ["d", "mask"]),
        oh.make_node("Neg", ["d"], ["z"]),
    ]
    whole = model(nodes, _X, ["input_passed_on", "y", "y_again", "z", "mask"])
    folded = fold_constants(whole)
    assert _operators(folded) == ["Identity", "Relu", "Identity", "Exp", "Dropout", "Neg"]
    _same_values(whole, folded)


def test_dropout_in_training_stays() -> None:
    node = oh.make_node("Dropout", ["x", "", "on"], ["y"])
    assert _operators(fold_constants(model([node], _X, ["y"], {"on": np.array(True)}))) == ["Dropout"]


def test_random_operators_are_not_constants() -> None:
    nodes = [
        oh.make_node("RandomNormal", [], ["noise"], shape=[3]),
        oh.make_node("Add", ["x", "noise"], ["y"]),
    ]
    assert _operators(fold_constants(model(nodes, _X, ["y"]))) == ["RandomNormal", "Add"]


def test_an_initializer_that_a_caller_may_override_is_no_constant() -> None:
    weight = {"w": np.ones(3, np.float32)}
    nodes = [oh.make_node("Neg", ["w"], ["n"]), oh.make_node("Add", ["x", "n"], ["y"])]
    assert _operators(fold_constants(model(nodes, _X | weight, ["y"], weight))) == ["Neg", "Add"]


def test_local_functions_of_constants_fold_too() -> None:
    double = oh.make_function(
        "local", "Double", ["a"], ["b"], [oh.make_node("Add", ["a", "a"], ["b"])], [oh.make_opsetid("", 21)]
    )
    nodes = [
        oh.make_node("Double", ["w"], ["v"], domain="local"),
        oh.make_node("Double", ["x"], ["h"], domain="local"),
        oh.make_node("Add", ["h", "v"], ["y"]),
    ]
    whole = model(nodes, _X, ["y"], {"w": np.ones(3, np.float32)}, [double])
    folded = fold_constants(whole)
    assert _operators(folded) == ["Double", "Add"]
    _same_values(whole, folded)


def test_values_that_a_subgraph_takes_from_around_it_stay() -> None:
    add = oh.make_node("Add", ["copied", "copied"], ["twice"])
    inner = oh.make_graph([add], "inner", [], [onnx.ValueInfoProto(name="twice")])
    nodes = [
        oh.make_node("Relu", ["x"], ["a"]),
        oh.make_node("Identity", ["a"], ["copied"]),
        oh.make_node("If", ["flag"], ["y"], then_branch=inner, else_branch=inner),
    ]
    folded = fold_constants(model(nodes, _X | {"flag": np.array(True)}, ["y"]))
    assert [list(node.output) for node in folded.graph.node] == [["copied"], ["y"]]


def test_metadata_stays_and_the_input_is_untouched_and_the_result_always_the_same() -> None:
    nodes = [
        oh.make_node("Constant", [], ["c"], value_float=1.0),
        oh.make_node("Identity", ["x"], ["copy"]),
        oh.make_node("Add", ["copy", "c"], ["y"], name="sum"),
    ]
    nodes[2].metadata_props.add(key="origin", value="encoder.0")
    whole = model(nodes, _X, ["y"])
    oh.set_model_props(whole, {"kept": "yes"})
    before = whole.SerializeToString(deterministic=True)
    folded = fold_constants(whole)
    assert whole.SerializeToString(deterministic=True) == before
    assert [(p.key, p.value) for p in folded.graph.node[0].metadata_props] == [("origin", "encoder.0")]
    assert folded.metadata_props == whole.metadata_props
    again = fold_constants(whole).SerializeToString(deterministic=True)
    assert folded.SerializeToString(deterministic=True) == again
    assert fold_constants(folded) == folded
