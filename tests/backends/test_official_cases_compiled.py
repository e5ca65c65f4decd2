"""What Numba, TVM and a C compiler make of programs, against the node tests that ship with ONNX.

Cases that lower to the same program are compiled once, and some programs are compiled together. Left out are
the cases called "expanded": each is another case again, written in operators that have cases of their own.
"""

from __future__ import annotations

import functools

import numpy as np
import pytest
from backend_programs import Opener, poisoned
from joined_programs import anonymous, join
from lowered_cases import Attempt, lowered_cases

from millstream.lower import Lowered

#: About a dozen programs each: compilers take longer for one large function, and for many small ones too.
_BATCHES = 52


@functools.cache
def _by_program() -> dict[Lowered, list[Attempt]]:
    """The cases of each distinct program."""
    found: dict[Lowered, list[Attempt]] = {}
    for name, attempt in lowered_cases().items():
        if "_expanded" not in name:
            found.setdefault(anonymous(attempt.lowered()), []).append(attempt)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("batch", range(_BATCHES))
def test_official_cases(opener: Opener, batch: int) -> None:
    programs = list(_by_program())[batch::_BATCHES]
    cases = [_by_program()[program] for program in programs]
    joined = join(programs)
    wrong = []
    for turn in range(max(map(len, cases))):
        chosen = [attempts[turn % len(attempts)] for attempts in cases]
        inputs = [_flat(array) for attempt in chosen for array in attempt.inputs]
        outputs = poisoned(1, joined.program.role("output"))
        opener(joined.program, joined.weights).bind(inputs, [], outputs, [])()
        wrong += _disagreements(chosen, outputs)
    assert not wrong, "\n".join(wrong)


def _flat(array: np.ndarray) -> np.ndarray:
    """One stream's array, as the caller of a step would give it."""
    return np.ascontiguousarray(array).reshape(1, -1)


def _disagreements(chosen: list[Attempt], outputs: list[np.ndarray]) -> list[str]:
    """What is wrong with the results, case by case; `outputs` are those of all cases in order."""
    rest, wrong = iter(outputs), []
    for attempt in chosen:
        results = [next(rest) for _ in attempt.outputs]
        try:
            attempt.agrees(results)
        except AssertionError as error:
            wrong.append(f"{attempt.case.name}: {error}")
    return wrong
