"""JapaneseVowels: nine speakers say /ae/, 12 linear-prediction cepstra per frame, 7 to 29 frames.

Kudo, Toyama and Shimbo (1999), UCI archive: 10 kHz speech, frames of 25.6 ms every 6.4 ms. The task is
to name the speaker; the official split has 270 training and 370 test utterances. The data comes inside
the `aeon` package.
"""

from __future__ import annotations

from millstream.datasets import aeon_files
from millstream.sequences import Sequences

CHANNELS = 12
FRAME_RATE = 1 / 0.0064
SPEAKERS = tuple(f"speaker {i}" for i in range(1, 10))

_LABELS = tuple("123456789")


def train() -> Sequences:
    """The 270 training utterances (T, 12), 30 of each speaker. Raises ToolMissing, DataInvalid."""
    return _read("JapaneseVowels_TRAIN.ts")


def test() -> Sequences:
    """The 370 test utterances (T, 12). Raises ToolMissing, DataInvalid."""
    return _read("JapaneseVowels_TEST.ts")


def _read(name: str) -> Sequences:
    return aeon_files.labelled(aeon_files.folder("JapaneseVowels") / name, CHANNELS, _LABELS)
