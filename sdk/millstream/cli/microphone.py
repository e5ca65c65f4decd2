"""The microphone as a sequence that ends when the command is interrupted."""

from __future__ import annotations

import importlib
from typing import Any

from millstream.cli.feed import Chunks, check_waveform, row_of
from millstream.errors import MicrophoneFailed, ToolMissing, UsageError
from millstream_runtime.spec import ModelSpec

_WHERE = "microphone"


def microphone(spec: ModelSpec) -> Chunks:
    """Chunks (hop, *sample) of float32 in [-1, 1) from the system's own microphone, at the model's rate.

    Raises UsageError for a model that takes no sound or names no rate; ToolMissing without the library
    sounddevice or the PortAudio under it; MicrophoneFailed, also when samples were lost, because what follows
    would not be what was heard.
    """
    row, rate = row_of(spec), spec.sample_rate
    check_waveform(row, _WHERE)
    if rate is None:
        raise UsageError(
            "the model names no sample rate", where=_WHERE, fix="export it again with --sample-rate HZ"
        )
    sounddevice = _library()
    try:
        with sounddevice.InputStream(
            samplerate=rate, blocksize=row.per_chunk, channels=1, dtype="float32"
        ) as recording:
            while True:
                samples, lost = recording.read(row.per_chunk)
                if lost:
                    raise MicrophoneFailed(
                        "samples were lost",
                        where=_WHERE,
                        why="the step takes longer than sound does",
                        fix="choose a faster backend (millstream bench)",
                    )
                yield samples.reshape(-1, *row.shape)
    except sounddevice.PortAudioError as error:
        raise MicrophoneFailed("the microphone cannot be used", where=_WHERE, why=str(error)) from error


def _library() -> Any:
    try:
        return importlib.import_module("sounddevice")
    except ModuleNotFoundError as error:
        raise ToolMissing("sounddevice is not installed", fix="pip install 'millstream[mic]'") from error
    except OSError as error:
        raise ToolMissing(
            "PortAudio is not installed", why=str(error), fix="apt install libportaudio2"
        ) from error
