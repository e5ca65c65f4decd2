"""What the trained models of the catalogue are for, and how well a step does it on held-out data.

A task takes the first outputs (T, ...) of a step for every frame of each of its sequences, which stream from
the initial states.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from millstream.datasets import basic_motions, internal_bleeding, japanese_vowels, python_library
from millstream.sequences import Sequences
from millstream_models import ReferenceModel

#: Of each held-out module that language models read.
MOST_BYTES = 4096
#: Hops of 20 ms whose scores are averaged before a digit is named, as the example does it.
_SMOOTHED = 4
_SPEECH = Path(__file__).parents[1] / "models" / "training" / "keyword_spotter"

Outputs = Sequence[np.ndarray]


@dataclass(frozen=True)
class Metric:
    """A figure in words, from the outputs of every sequence, and what another one has lost against it (less
    than 0: won), with the unit of that."""

    name: str
    figure: Callable[[Outputs], float]
    lost: Callable[[float, float], float]
    unit: str
    form: str


@dataclass(frozen=True)
class Task:
    """Sequences (T, ...) that are held out, and the metric on them."""

    sequences: tuple[np.ndarray, ...]
    metric: Metric


def task(model: ReferenceModel) -> Task:
    """The task of a trained model. Raises KeyError for a data set that has none."""
    return _TASKS[model.dataset]()


def points(before: float, after: float) -> float:
    """Of a hundred, by which a share has fallen."""
    return 100 * (before - after)


def percent_more(before: float, after: float) -> float:
    """By how much a cost has risen, in percent of what it was."""
    return 100 * (after / before - 1)


def by_last_output(labels: np.ndarray, outputs: Outputs) -> float:
    """The share of sequences whose label has the largest score behind the last frame."""
    return float(
        np.mean([scores[-1].argmax() == label for scores, label in zip(outputs, labels, strict=True)])
    )


def by_best_moment(labels: np.ndarray, outputs: Outputs) -> float:
    """The share of recordings whose digit's score, averaged over four hops, is the highest of all digits'
    anywhere in the recording."""
    window, digits = np.ones(_SMOOTHED) / _SMOOTHED, labels.max() + 1
    best = [
        np.argmax([np.convolve(column, window, "valid").max() for column in scores[:, :digits].T])
        for scores in outputs
    ]
    return float(np.mean(best == labels))


def bits_per_byte(texts: Sequence[np.ndarray], outputs: Outputs) -> float:
    """What the next byte costs on average, over all bytes of all texts but the first of each."""
    nats, count = 0.0, 0
    for logits, text in zip(outputs, texts, strict=True):
        wide, wanted = logits[:-1].astype(np.float64), text[1:]
        largest = wide.max(1)
        total = np.log(np.exp(wide - largest[:, None]).sum(1)) + largest
        nats += float((total - wide[np.arange(len(wanted)), wanted]).sum())
        count += len(wanted)
    return nats / count / math.log(2)


def standing_out(wrong: np.ndarray, outputs: Outputs) -> float:
    """How many times the surprise at what is wrong exceeds the largest one that is farther than 50 samples
    from it and not in training."""
    surprise = outputs[0][:, 0].copy()
    first, last = np.flatnonzero(wrong)[[0, -1]]
    near = np.abs(np.arange(len(surprise)) - (first + last) / 2) < 50
    elsewhere = surprise[internal_bleeding.TRAINING :][~near[internal_bleeding.TRAINING :]]
    return float(surprise[near].max() / elsewhere.max())


def _classes(read: Callable[[], Sequences]) -> Task:
    data = read()
    return Task(
        data.frames, Metric("accuracy", partial(by_last_output, data.labels), points, "points", ".2%")
    )


def _digits() -> Task:
    """Digits in voices of synthesizers that training does not hear."""
    sys.path.append(str(_SPEECH))
    import synthesis
    import train

    spoken = list(synthesis.speak(synthesis.KEYWORDS, np.random.default_rng(0), 150, train.is_kept))
    frames = tuple(train.padded(utterance.samples)[0].numpy() for utterance in spoken)
    labels = np.array([synthesis.KEYWORDS.index(utterance.word) for utterance in spoken])
    return Task(frames, Metric("digits named", partial(by_best_moment, labels), points, "points", ".2%"))


def _text() -> Task:
    """The beginnings of the held-out modules."""
    texts = tuple(text[:MOST_BYTES] for text in python_library.held_out_texts().values())
    return Task(texts, Metric("bits per byte", partial(bits_per_byte, texts), percent_more, "%", ".3f"))


def _record() -> Task:
    """The whole record, whose start training has read."""
    samples, wrong = internal_bleeding.record()

    def lost(before: float, after: float) -> float:
        return percent_more(1 / before, 1 / after)

    return Task((samples,), Metric("blip over the rest", partial(standing_out, wrong), lost, "%", ".2f"))


_TASKS: Mapping[str, Callable[[], Task]] = {
    "japanese_vowels": partial(_classes, japanese_vowels.test),
    "basic_motions": partial(_classes, basic_motions.test),
    "spoken_digits": _digits,
    "python_library": _text,
    "internal_bleeding": _record,
}
