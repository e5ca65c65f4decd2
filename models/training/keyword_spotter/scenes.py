"""Training scenes: words put one after the other, disturbed as rooms, microphones and lines disturb them.

A scene has a target for every frame: a digit from shortly before its word ends to a quarter of a second after
it, nothing else everywhere else, and no target where either would be right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from synthesis import KEYWORDS, RATE, Utterance, resampled

HOP = 160
FRAMES = 80
LENGTH = FRAMES * HOP
NOTHING, OPEN = len(KEYWORDS), -100
#: Samples: a digit may be told so long before its word ends, and shall be for so long after it.
EARLY, HELD, FADING = int(0.06 * RATE), int(0.25 * RATE), int(0.15 * RATE)


@dataclass(frozen=True)
class Scene:
    """Samples (LENGTH,) float32 and targets (FRAMES,) int64."""

    samples: np.ndarray
    targets: np.ndarray


class Scenes:
    """Draws scenes from utterances, `digits` being the share of digits among the words.

    Festival speaks a third as often as the other two, which have more voices.
    """

    def __init__(self, utterances: Sequence[Utterance], digits: float, random: np.random.Generator) -> None:
        self.digits, self.random = digits, random
        self.utterances = [u for u in utterances if len(u.samples) > RATE // 10]
        self.groups: dict[tuple[str, str], list[int]] = {}
        for i, utterance in enumerate(self.utterances):
            self.groups.setdefault((utterance.voice.engine, utterance.word), []).append(i)
        self.others = sorted({word for _, word in self.groups} - set(KEYWORDS))

    def draw(self) -> Scene:
        """One scene: as many words as fit, of one synthesizer, with pauses between them."""
        random = self.random
        engine = random.choice(("espeak-ng", "flite", "festival"), p=(0.45, 0.4, 0.15))
        samples, targets = np.zeros(LENGTH, np.float64), np.full(FRAMES, NOTHING, np.int64)
        place = int(random.uniform(0.02, 0.6) * RATE)
        size = random.uniform(0.85, 1.25)
        while True:
            word = str(random.choice(KEYWORDS if random.random() < self.digits else self.others))
            spoken = self._spoken(engine, word, size * random.uniform(0.95, 1.05))
            end = place + len(spoken)
            if end > LENGTH:
                break
            samples[place:end] += spoken
            if word in KEYWORDS:
                _mark(targets, place, end, KEYWORDS.index(word))
            place = end + int(random.choice((random.uniform(0.0, 0.1), random.uniform(0.1, 0.8))) * RATE)
        return Scene(self._disturbed(samples).astype(np.float32), targets)

    def _spoken(self, engine: str, word: str, size: float) -> np.ndarray:
        """The word by a speaker of another size: slower and lower, or faster and higher."""
        chosen = self.utterances[self.random.choice(self.groups[engine, word])]
        spoken = resampled(chosen.samples, size)
        return spoken * self.random.uniform(0.6, 1.0) / max(np.abs(spoken).max(), 1e-6)

    def _disturbed(self, samples: np.ndarray) -> np.ndarray:
        """A room, a line, noise, and a gain."""
        random = self.random
        count = 2 * LENGTH
        spectrum = np.fft.rfft(samples, count)
        if random.random() < 0.6:
            spectrum *= np.fft.rfft(_room(random), count)
        spectrum *= _line(random, len(spectrum))
        samples = np.fft.irfft(spectrum, count)[:LENGTH]
        samples = samples / max(np.abs(samples).max(), 1e-6)
        if random.random() < 0.8:
            noise = _noise(random)
            samples = samples + noise * 10 ** random.uniform(-3.2, -0.9)
        return np.clip(samples * 10 ** random.uniform(-1.3, 0.0), -1, 1)


def _mark(targets: np.ndarray, start: int, end: int, digit: int) -> None:
    """Nothing is told of the second half of a word until near its end, nor right after the hold."""
    frame = np.arange(len(targets)) * HOP + HOP  # the samples heard when a frame's score comes
    targets[(frame > (start + end) / 2) & (frame < end - EARLY)] = OPEN
    targets[(frame >= end - EARLY) & (frame < end + HELD)] = digit
    targets[(frame >= end + HELD) & (frame < end + HELD + FADING)] = OPEN


def _room(random: np.random.Generator) -> np.ndarray:
    """A direct sound, and an echo of noise that dies away within 0.05 to 0.4 s."""
    seconds = random.uniform(0.05, 0.4)
    time = np.arange(int(seconds * RATE)) / RATE
    echo = random.standard_normal(len(time)) * np.exp(-6.9 * time / seconds)
    echo *= random.uniform(0.1, 0.7) / np.sqrt((echo * echo).sum())
    echo[0] = 1.0
    return echo


def _line(random: np.random.Generator, bins: int) -> np.ndarray:
    """A smooth curve of up to 12 dB over frequency, and often the edges of a telephone."""
    hertz = np.linspace(0, RATE / 2, bins)
    decibels = np.interp(hertz, np.linspace(0, RATE / 2, 7), random.uniform(-12, 12, 7))
    gain = 10 ** (decibels / 20)
    if random.random() < 0.5:
        gain /= np.sqrt(1 + (random.uniform(100, 350) / np.maximum(hertz, 1)) ** 4)
    if random.random() < 0.3:
        gain /= np.sqrt(1 + (hertz / random.uniform(2800, 3800)) ** 16)
    return gain


def _noise(random: np.random.Generator) -> np.ndarray:
    """Noise of power 1 whose spectrum falls by 0 to 9 dB an octave."""
    spectrum = np.fft.rfft(random.standard_normal(LENGTH))
    spectrum /= np.maximum(np.arange(len(spectrum)), 20) ** random.uniform(0, 1.5)
    noise = np.fft.irfft(spectrum, LENGTH)
    return noise / noise.std()
