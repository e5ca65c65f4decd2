"""`millstream run --mic`, with a library in place of sounddevice that plays what it is given."""

from __future__ import annotations

import json
import sys
from types import ModuleType

import numpy as np
import pytest

import millstream_runtime


class PortAudioError(Exception):
    """As sounddevice calls its errors."""


class Recording:
    """As sounddevice.InputStream; the machine has as many samples as `sound` holds, then it is unplugged."""

    sound = np.empty(0, np.float32)
    lost_at = -1

    def __init__(self, samplerate: float, blocksize: int, channels: int, dtype: str) -> None:
        self.rate, self._at = samplerate, 0
        assert (channels, dtype, blocksize) == (1, "float32", 4)

    def __enter__(self) -> Recording:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def read(self, count: int) -> tuple[np.ndarray, bool]:
        begin, self._at = self._at, self._at + count
        if self._at > len(self.sound):
            raise PortAudioError("unplugged")
        return self.sound[begin : self._at, None], begin == self.lost_at


@pytest.fixture
def sound(monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    heard = np.random.default_rng(5).uniform(-1, 1, 40).astype(np.float32)
    library = ModuleType("sounddevice")
    library.InputStream, library.PortAudioError = Recording, PortAudioError  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sounddevice", library)
    monkeypatch.setattr(Recording, "sound", heard)
    monkeypatch.setattr(Recording, "lost_at", -1)
    return heard


def test_what_the_microphone_hears_is_streamed(millstream, windowed, sound):
    result = millstream("run", windowed, "--mic", "--json")
    *lines, error = (json.loads(line) for line in result.stdout.splitlines())
    with millstream_runtime.load(windowed).stream() as stream:
        want = np.stack(stream.push(sound))
    np.testing.assert_array_equal(np.array([line["outputs"]["output"] for line in lines], np.float32), want)
    assert (result.exit_code, error["error"]["kind"]) == (1, "MicrophoneFailed")
    assert "unplugged" in error["error"]["why"]


def test_lost_samples_end_the_stream(millstream, windowed, sound, monkeypatch):
    monkeypatch.setattr(Recording, "lost_at", 12)
    result = millstream("run", windowed, "--mic")
    assert (result.exit_code, "samples were lost" in result.stderr) == (1, True)
    assert len(result.stdout.splitlines()) == 2


def test_a_model_that_hears_nothing(millstream, bundle, sound):
    result = millstream("run", bundle, "--mic")
    assert (result.exit_code, "no waveform" in result.stderr) == (2, True)


def test_without_the_library(millstream, windowed, monkeypatch):
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    result = millstream("run", windowed, "--mic")
    assert (result.exit_code, "millstream[mic]" in result.stderr) == (3, True)


def test_one_source_is_named(millstream, windowed, sound):
    for chosen in ((), ("--mic", "--input", "-"), ("--mic", "--serve", "unix:x")):
        assert millstream("run", windowed, *chosen).exit_code == 2
