"""The search for the smallest mix within a budget, on losses that are known."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import pytest

from millstream.quantize import FORMATS, Format
from millstream.quantize.search import Found, Loss, Weighed, search

FOUR, EIGHT = FORMATS["w4a8"], FORMATS["w8a8"]
#: What each product loses in 4 bits and in 8; losses add up.
LOSSES = {"a": (0.1, 0.01), "b": (2.0, 0.1), "c": (0.2, 0.0), "d": (9.0, 3.0)}
PRODUCTS = [Weighed(name, {"": 400, "w8a8": 100, "w4a8": 50}) for name in LOSSES]


def _measure(choices: Mapping[str, Format]) -> Loss:
    lost = sum(LOSSES[output][format.name == "w8a8"] for output, format in choices.items())
    return Loss(lost, lost)


def _searched(budget: float) -> Found[Format]:
    return search(PRODUCTS, [FOUR, EIGHT], _measure, budget, lambda what: None)


@pytest.mark.parametrize(
    ("budget", "formats"),
    [
        (100, {"a": "w4a8", "b": "w4a8", "c": "w4a8", "d": "w4a8"}),
        (0.5, {"a": "w4a8", "c": "w4a8", "b": "w8a8"}),
        (0.1, {"a": "w4a8", "c": "w8a8"}),
        (0.005, {"c": "w8a8"}),
    ],
)
def test_as_many_small_products_as_the_budget_bears(budget: float, formats: dict[str, str]) -> None:
    best = _searched(budget).best
    assert best is not None
    assert {output: format.name for output, format in best.items()} == formats


def test_no_mix_within_the_budget() -> None:
    found = _searched(-1)
    assert found.best is None
    assert found.trials


def test_no_mix_is_measured_twice() -> None:
    asked = []

    def measure(choices: Mapping[str, Format]) -> Loss:
        asked.append(frozenset((output, format.name) for output, format in choices.items()))
        return _measure(choices)

    search(PRODUCTS, [FOUR, EIGHT], measure, 0.5, lambda what: None)
    assert len(asked) == len(set(asked))


def test_nothing_on_the_front_is_beaten() -> None:
    found = _searched(0.5)
    for one, other in itertools.permutations(found.front, 2):
        assert not (other.bytes <= one.bytes and other.loss.metric <= one.loss.metric)
    assert min(found.trials, key=lambda t: t.bytes).bytes == found.front[0].bytes
