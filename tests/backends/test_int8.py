"""Products of int8 are exact in every backend, whatever instruction they are made of."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from backend_programs import Case, Opener, differences, expected, run
from int8_programs import SHAPES, convolution, products


@pytest.mark.parametrize("make", [lambda: products(SHAPES, 2), convolution], ids=["products", "convolution"])
def test_sums_are_exact(opener: Opener, make: Callable[[], Case]) -> None:
    case = make()
    assert differences(case, run(opener, case)[0], expected(case)[0], 0) == []
