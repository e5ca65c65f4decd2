"""The lowering against the node tests that ship with ONNX: every case of every operator it claims."""

from __future__ import annotations

import pytest
from lowered_cases import Attempt, attempts, lowered_cases, operators

from millstream.lower.execute import execute
from millstream.lower.operators import OPERATORS
from millstream.lower.soundness import check_dataflow

#: Why a case of a claimed operator may be refused; each is an attribute or type that is not lowered.
_KNOWN_REFUSALS = (
    "dtype float16 is not lowered",
    "dtype int4 is not lowered",
    "dtype uint4 is not lowered",
    "the indices of MaxPool",
    "a shift of signed integers",
    *(f"the attribute {name} is not of opset 21" for name in ("axes", "ratio")),
)
#: No official case of theirs can be run; `test_lower_operators.py` does.
_NO_OFFICIAL_CASE = {"GlobalLpPool", "MeanVarianceNormalization"}


@pytest.mark.parametrize("attempt", attempts().values(), ids=lambda attempt: attempt.case.name)
def test_official_case(attempt: Attempt) -> None:
    if attempt.refusals:
        assert set(attempt.refusals) <= set(_KNOWN_REFUSALS)
        return
    check_dataflow(attempt.translation.draft)
    lowered = attempt.lowered()
    results, _ = execute(lowered.program, lowered.weights, attempt.inputs, [])
    attempt.agrees(results)


def test_every_claimed_operator_lowers_an_official_case() -> None:
    lowered = set().union(*(operators(attempt.case) for attempt in lowered_cases().values()))
    assert set(OPERATORS) - lowered == _NO_OFFICIAL_CASE
