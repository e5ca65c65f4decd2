"""Products of int8 are exact in every backend, whatever instruction they are made of."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from backend_programs import Case, Opener, differences, expected, run
from int8_programs import SHAPES, convolution, products, recurrence


@pytest.mark.parametrize(
    "make",
    [lambda: products(SHAPES, 2), convolution, recurrence],
    ids=["products", "convolution", "recurrence"],
)
def test_programs_of_integers_are_exact(opener: Opener, make: Callable[[], Case]) -> None:
    case = make()
    got, want = run(opener, case), expected(case)
    assert differences(case, got[0] + got[1], want[0] + want[1], 0) == []
