"""JapaneseVowels: nine speakers say /ae/, 12 linear-prediction cepstra per frame, 7 to 29 frames.

Kudo, Toyama and Shimbo (1999), UCI archive: 10 kHz speech, frames of 25.6 ms every 6.4 ms. The task is
to name the speaker; the official split has 270 training and 370 test utterances. The data comes inside
the `aeon` package, which is never imported: it pulls in numba, and only two text files are needed.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from millstream.errors import DataInvalid, ToolMissing
from millstream.sequences import Sequences

CHANNELS = 12
FRAME_RATE = 1 / 0.0064
SPEAKERS = tuple(f"speaker {i}" for i in range(1, 10))

_FOLDER = Path("datasets", "data", "JapaneseVowels")


def train() -> Sequences:
    """The 270 training utterances (T, 12), 30 of each speaker. Raises ToolMissing, DataInvalid."""
    return _read(_folder() / "JapaneseVowels_TRAIN.ts")


def test() -> Sequences:
    """The 370 test utterances (T, 12). Raises ToolMissing, DataInvalid."""
    return _read(_folder() / "JapaneseVowels_TEST.ts")


def _folder() -> Path:
    spec = importlib.util.find_spec("aeon")
    if spec is None or not spec.submodule_search_locations:
        raise ToolMissing(
            "the JapaneseVowels data is not installed",
            where="package aeon",
            why="the data set comes inside that package",
            fix="pip install --no-deps aeon",
        )
    return Path(spec.submodule_search_locations[0]) / _FOLDER


def _read(path: Path) -> Sequences:
    """Parse a `.ts` file: after `@data`, one utterance a line, as channel:...:channel:label."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise _invalid(path, str(error)) from error
    _, marker, body = text.partition("@data\n")
    utterances = [_parse(line, path) for line in body.splitlines() if line.strip()]
    if not marker or not utterances:
        raise _invalid(path, "no line of data after @data")
    return Sequences(
        frames=tuple(frames for frames, _ in utterances),
        labels=np.array([speaker for _, speaker in utterances], dtype=np.int64),
    )


def _parse(line: str, path: Path) -> tuple[NDArray[np.float32], int]:
    *channels, label = line.split(":")
    try:
        frames = np.array([channel.split(",") for channel in channels], dtype=np.float32).T
        speaker = int(label) - 1
    except ValueError as error:
        raise _invalid(path, str(error)) from error
    if frames.ndim != 2 or frames.shape[1] != CHANNELS or not 0 <= speaker < len(SPEAKERS):
        raise _invalid(path, f"an utterance of shape {frames.shape} by speaker {label}")
    frames = np.ascontiguousarray(frames)
    frames.flags.writeable = False
    return frames, speaker


def _invalid(path: Path, why: str) -> DataInvalid:
    return DataInvalid(
        "the JapaneseVowels data cannot be read",
        where=str(path),
        why=why,
        fix="pip install --force-reinstall --no-deps aeon",
    )
