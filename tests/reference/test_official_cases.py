"""The reference against the node tests that ship with ONNX: every case of every operator it claims."""

from __future__ import annotations

import numpy as np
import pytest
from official_cases import SEQUENCES_AND_OPTIONALS, all_cases, array, exclusion, relative_bound
from onnx.backend.test.case.test_case import TestCase as Case

from millstream.errors import UnsupportedModel
from millstream.reference import OPERATORS, evaluate

#: No official case has these operators on dtypes that we run; `test_against_torch.py` does.
_NOT_COVERED = {"GlobalLpPool"}

_RUN = [case for case in all_cases() if not exclusion(case)]
_REFUSED = [case for case in all_cases() if exclusion(case) not in ("", SEQUENCES_AND_OPTIONALS)]


@pytest.mark.parametrize("case", _RUN, ids=lambda case: case.name)
def test_official_case(case: Case) -> None:
    names = [value.name for value in case.model.graph.input]
    for inputs, outputs in case.data_sets:
        given = dict(zip(names, map(array, inputs), strict=True))
        before = {name: value.copy() for name, value in given.items()}
        results = evaluate(case.model, given).values()
        for name, value in given.items():
            np.testing.assert_array_equal(value, before[name], err_msg=f"the operator wrote to {name}")
        for result, expected in zip(results, map(array, outputs), strict=True):
            _agree(case, result, expected)


def _agree(case: Case, result: np.ndarray, expected: np.ndarray) -> None:
    assert (result.dtype, result.shape) == (expected.dtype, expected.shape)
    if not np.issubdtype(expected.dtype, np.floating):
        np.testing.assert_array_equal(result, expected)
        return
    np.testing.assert_allclose(result, expected, rtol=relative_bound(case, expected), atol=case.atol)


@pytest.mark.parametrize("case", _REFUSED, ids=lambda case: case.name)
def test_excluded_case_is_refused_not_miscomputed(case: Case) -> None:
    names = [value.name for value in case.model.graph.input]
    inputs = map(array, case.data_sets[0][0])
    with pytest.raises(UnsupportedModel):
        evaluate(case.model, dict(zip(names, inputs, strict=True)))


def test_every_claimed_operator_has_an_official_case() -> None:
    covered = {node.op_type for case in _RUN for node in case.model.graph.node}
    assert set(OPERATORS) - covered == _NOT_COVERED
