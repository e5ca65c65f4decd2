"""Spoken digits: a person's voice, for models that were trained on synthesizers alone.

The recordings are the prompts of the telephone exchange Asterisk, spoken by Allison Smith, as Debian packs
them: 8 kHz, 16 bits. Ten of them say one digit each; others say letters, or words of the spelling alphabet.
Every sequence is the sound as frames of 160 samples; what is left of the last frame is dropped.
"""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from millstream.errors import DataInvalid, ToolMissing
from millstream.sequences import Sequences

RATE = 8000
HOP = 160
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
#: The label of what is no digit.
NOTHING = len(WORDS)

_FOLDER = Path("/usr/share/asterisk/sounds/en_US_f_Allison")
_INSTALL = "apt install asterisk-core-sounds-en-wav"


def train() -> Sequences:
    """Twenty-six letters (T, 160), none of them a digit: what an export is proved on. No model was trained on
    them. Raises ToolMissing, DataInvalid."""
    return _sequences([f"letters/{letter}" for letter in "abcdefghijklmnopqrstuvwxyz"], [NOTHING] * 26)


def test() -> Sequences:
    """The ten digits (T, 160), from zero to nine. Raises ToolMissing, DataInvalid."""
    return _sequences([f"digits/{digit}" for digit in range(10)], list(range(10)))


def other_words() -> Sequences:
    """Forty-six words (T, 160) that are no digit: the spelling alphabet from alpha to zulu, the days of the
    week, the months, and "thousand". Raises ToolMissing, DataInvalid."""
    alphabet = [f"phonetic/{letter}_p" for letter in "abcdefghijklmnopqrstuvwxyz"]
    days, months = [f"digits/day-{i}" for i in range(7)], [f"digits/mon-{i}" for i in range(12)]
    names = [*alphabet, *days, *months, "digits/thousand"]
    return _sequences(names, [NOTHING] * len(names))


def recording(name: str) -> NDArray[np.float32]:
    """The samples (N,) of one prompt, such as `digits/7`, in [-1, 1). Raises ToolMissing, DataInvalid."""
    if not _FOLDER.is_dir():
        raise ToolMissing(
            "the recorded digits are not installed",
            where=str(_FOLDER),
            why="they come with a telephone exchange",
            fix=_INSTALL,
        )
    path = _FOLDER / f"{name}.wav"
    try:
        with wave.open(str(path), "rb") as file:
            kind = (file.getframerate(), file.getnchannels(), file.getsampwidth())
            data = file.readframes(file.getnframes())
    except (OSError, EOFError, wave.Error) as error:
        raise _invalid(path, str(error)) from error
    if kind != (RATE, 1, 2):
        raise _invalid(path, f"{kind[1]} channels of {8 * kind[2]} bits, {kind[0]} samples per second")
    return np.frombuffer(data, "<i2").astype(np.float32) / np.float32(32768)


def _sequences(names: list[str], labels: list[int]) -> Sequences:
    sounds = (recording(name) for name in names)
    frames = tuple(sound[: len(sound) // HOP * HOP].reshape(-1, HOP) for sound in sounds)
    return Sequences(frames, np.array(labels, np.int64))


def _invalid(path: Path, why: str) -> DataInvalid:
    return DataInvalid(
        "a recorded digit cannot be read", where=str(path), why=why, fix=f"{_INSTALL} --reinstall"
    )
