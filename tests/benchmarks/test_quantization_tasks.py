"""What the benchmark of formats counts, against counting by hand."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _paths(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    monkeypatch.syspath_prepend(ROOT / "models" / "training" / "keyword_spotter")


def test_bits_of_the_bytes_that_come_next() -> None:
    from quantization_tasks import bits_per_byte

    rng = np.random.default_rng(0)
    texts = [rng.integers(0, 5, length) for length in (9, 4)]
    logits = [rng.standard_normal((len(text), 5)).astype(np.float32) * 30 for text in texts]
    bits = []
    for scores, text in zip(logits, texts, strict=True):
        for place in range(len(text) - 1):
            chances = [math.exp(float(score)) for score in scores[place]]
            bits.append(-math.log2(chances[text[place + 1]] / sum(chances)))
    assert bits_per_byte(texts, logits) == pytest.approx(sum(bits) / len(bits), rel=1e-9)


def test_the_last_frame_decides() -> None:
    from quantization_tasks import by_last_output

    outputs = [np.array([[9, 0], [0, 1]]), np.array([[1, 0]]), np.array([[0, 1], [1, 0]])]
    assert by_last_output(np.array([1, 0, 1]), outputs) == pytest.approx(2 / 3)


def test_a_digit_is_named_at_its_best_moment_and_not_by_one_hop() -> None:
    """The first digit has the largest single score, the second the largest mean of four; the last column is
    that of no digit."""
    from quantization_tasks import by_best_moment

    scores = np.zeros((12, 3))
    scores[2, 0], scores[6:10, 1], scores[:, 2] = 7, 2, 50
    other = np.zeros((12, 3))
    other[3:7, 0] = 1
    assert by_best_moment(np.array([1, 0]), [scores, other]) == 1
    assert by_best_moment(np.array([0, 1]), [scores, other]) == 0


def test_what_is_wrong_stands_out_from_the_largest_of_the_rest() -> None:
    from quantization_tasks import standing_out

    surprise, wrong = np.full(3000, 0.1), np.zeros(3000, bool)
    wrong[2000:2004] = True
    surprise[[500, 1500, 2005]] = 9, 0.5, 2  # in training, elsewhere, just behind what is wrong
    assert standing_out(wrong, [surprise[:, None]]) == pytest.approx(4)


def test_less_is_worse_for_shares_and_better_for_costs() -> None:
    from quantization_tasks import percent_more, points

    assert points(0.98, 0.97) == pytest.approx(1)
    assert percent_more(2.0, 2.02) == pytest.approx(1)


def test_voices_that_are_not_wanted_leave_the_others_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    import synthesis

    def spoken(word, voice):
        return synthesis.Utterance(word, voice, np.zeros(1))

    monkeypatch.setattr(synthesis, "_espeak", spoken)
    monkeypatch.setattr(synthesis, "_flite", spoken)
    monkeypatch.setattr(synthesis, "_festival", lambda words, voice: [spoken(word, voice) for word in words])

    def drawn(*wanted):
        found = synthesis.speak(["one", "two"], np.random.default_rng(0), 9, *wanted)
        return [(each.word, each.voice) for each in found]

    every = drawn()
    scottish = drawn(lambda voice: "scotland" in voice.name or voice.engine == "festival")
    assert scottish == [e for e in every if "scotland" in e[1].name or e[1].engine == "festival"]
    assert {voice.engine for _, voice in scottish} == {"espeak-ng", "festival"}
