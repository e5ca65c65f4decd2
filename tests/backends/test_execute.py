"""The corners that `execute` closes where C leaves them open, by hand."""

from __future__ import annotations

import numpy as np
import pytest
from backend_programs import elementwise, expected, load

from millstream_runtime.program import Call


def _evaluate(operation: str, dtype: str, result: str, *columns: list) -> list:
    inputs = {name: np.array([column], dtype) for name, column in zip("ab", columns, strict=False)}
    call = Call(operation, tuple(load(name, dtype) for name in inputs), result)
    return expected(elementwise([call], inputs))[0][0][0].tolist()


@pytest.mark.parametrize(
    ("operation", "dtype", "columns", "want"),
    [
        (
            "divide",
            "int32",
            ([7, -7, 7, -7, 5, -(2**31)], [2, 2, -2, -2, 0, -1]),
            [3, -3, -3, 3, 0, -(2**31)],
        ),
        ("floor_mod", "int32", ([7, -7, 7, -7, 5], [3, 3, -3, -3, 0]), [1, 2, -2, -1, 0]),
        ("truncated_mod", "int32", ([7, -7, 7, -7, 5], [3, 3, -3, -3, 0]), [1, -1, 1, -1, 0]),
        ("add", "int8", ([127, -128], [1, -1]), [-128, 127]),
        ("multiply", "uint8", ([200, 16], [2, 16]), [144, 0]),
        ("negative", "uint16", ([1, 0],), [65535, 0]),
        ("power", "int32", ([3, 2, 2], [4, 0, -1]), [81, 1, 0]),
        ("round", "float32", ([0.5, 1.5, 2.5, -0.5, -1.5],), [0.0, 2.0, 2.0, -0.0, -2.0]),
        ("sign", "float32", ([-3.0, 0.0, 2.0],), [-1.0, 0.0, 1.0]),
        ("sigmoid", "float32", ([-200.0, 0.0, 200.0],), [0.0, 0.5, 1.0]),
    ],
)
def test_operations(operation: str, dtype: str, columns: tuple[list, ...], want: list) -> None:
    assert _evaluate(operation, dtype, dtype, *columns) == want


@pytest.mark.parametrize(
    ("result", "want"),
    [
        ("int8", [0, 127, -128, 2, -2, 127]),
        ("uint8", [0, 255, 0, 2, 0, 255]),
        ("int32", [0, 2**31 - 1, -(2**31), 2, -2, 300]),
        ("int64", [0, 2**63 - 1, -(2**63), 2, -2, 300]),
        ("bool", [True, True, True, True, True, True]),
    ],
)
def test_a_float_cast_saturates(result: str, want: list) -> None:
    values = [np.nan, np.inf, -np.inf, 2.9, -2.9, 300.0]
    assert _evaluate("cast", "float32", result, values) == want


def test_maximum_keeps_nan_from_either_side() -> None:
    got = _evaluate("maximum", "float32", "float32", [np.nan, 1.0, 2.0], [1.0, np.nan, 3.0])
    assert np.isnan(got[:2]).all()
    assert got[2] == 3.0
