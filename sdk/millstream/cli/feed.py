"""Frames for `millstream run`: from a file or standard input, in chunks as `Stream.push` takes them.

A row is one frame; for a model that cuts its frames itself (framing) a row is one sample.
"""

from __future__ import annotations

import csv
import os
import sys
import wave
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from millstream import sequences
from millstream.errors import DataInvalid, UsageError
from millstream_runtime.spec import ModelSpec

#: One chunk of rows (n, *row shape) after the other.
Chunks = Iterator[np.ndarray]

_READ_BYTES = 65536


@dataclass(frozen=True)
class Row:
    """What one row is, and how many make a chunk: so many that a chunk gives about one output."""

    shape: tuple[int, ...]
    dtype: np.dtype
    per_chunk: int

    @property
    def elements(self) -> int:
        """How many numbers a row has."""
        return int(np.prod(self.shape))


def feed(source: str, spec: ModelSpec) -> Iterator[Chunks]:
    """One `Chunks` per sequence in `source`: a path ending in .npz, .csv or .wav, or "-".

    Raises UsageError for what cannot be streamed into this model, DataInvalid for what cannot be read.
    """
    row = row_of(spec)
    if source == "-":
        return iter([_raw(sys.stdin.buffer, row)])
    kind = os.path.splitext(source)[1].lower()
    if kind == ".npz":
        return _npz(source, row)
    if kind == ".csv":
        return iter([_csv(source, row)])
    if kind == ".wav":
        return iter([_wav(source, row, spec.sample_rate)])
    raise UsageError(
        "input of an unknown kind", where=source, fix="give .npz, .csv, .wav, or - for raw frames"
    )


def row_of(spec: ModelSpec) -> Row:
    """What a row is for this model. Raises UsageError for one with several inputs."""
    if len(spec.inputs) != 1:
        names = ", ".join(t.name for t in spec.inputs)
        raise UsageError(
            "this model has several inputs", why=names, fix="stream it from Python, with Stream.step"
        )
    frame, framing = spec.inputs[0], spec.framing
    shape = frame.shape[1:] if framing else frame.shape
    return Row(shape, np.dtype(frame.dtype), framing.hop if framing else 1)


def _npz(path: str, row: Row) -> Iterator[Chunks]:
    """x (T, *row) is one sequence, x (N, T, *row) are N, cut to `lengths` (N,) where given."""
    arrays = sequences.load_arrays(path)
    x = arrays["x"]
    if x.shape[1:] == row.shape and x.ndim == 1 + len(row.shape):
        yield _cut(x, row)
    elif x.shape[2:] == row.shape and x.ndim == 2 + len(row.shape):
        for item in sequences.cut(arrays, path):
            yield _cut(item, row)
    else:
        raise DataInvalid(
            f"x of shape {x.shape}",
            where=path,
            why=f"a row has shape {row.shape}",
            fix=f"save x as (T, *{row.shape}) or (N, T, *{row.shape})",
        )


def _cut(rows: np.ndarray, row: Row) -> Chunks:
    for start in range(0, len(rows), row.per_chunk):
        yield rows[start : start + row.per_chunk]


def _csv(path: str, row: Row) -> Chunks:
    """One row a line, its numbers in C order, no heading."""
    try:
        with open(path, newline="", encoding="utf-8") as file:
            for number, cells in enumerate(csv.reader(file), start=1):
                if cells:
                    yield _parsed(cells, row, f"{path}, line {number}")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataInvalid("the input cannot be read", where=path, why=str(error)) from error


def _parsed(cells: list[str], row: Row, where: str) -> np.ndarray:
    try:
        numbers = np.array([float(cell) for cell in cells])
    except ValueError as error:
        raise DataInvalid(
            "not a row of numbers", where=where, why=str(error), fix="leave out headings"
        ) from error
    if numbers.size != row.elements:
        raise DataInvalid(f"a line of {numbers.size} numbers", where=where, why=f"a row has {row.elements}")
    with np.errstate(invalid="ignore", over="ignore"):
        converted = numbers.astype(row.dtype)
    if row.dtype.kind != "f" and not np.array_equal(converted, numbers):
        raise DataInvalid("numbers that do not fit", where=where, why=f"the model takes {row.dtype}")
    return converted.reshape(1, *row.shape)


def _wav(path: str, row: Row, sample_rate: float | None) -> Chunks:
    """PCM of 8, 16 or 32 bits, one channel, as float32 in [-1, 1)."""
    check_waveform(row, path)
    try:
        with wave.open(path, "rb") as file:
            _check_wave(file, path, sample_rate)
            while data := file.readframes(row.per_chunk):
                yield _pcm(data, file.getsampwidth()).reshape(-1, *row.shape)
    except (OSError, EOFError, wave.Error) as error:
        raise DataInvalid("the sound cannot be read", where=path, why=str(error)) from error


def check_waveform(row: Row, where: str) -> None:
    """Raise UsageError when a row is not one sample of sound."""
    if row.elements != 1 or row.dtype != np.float32:
        raise UsageError(
            "this model takes no waveform",
            where=where,
            why=f"a row is {row.dtype} of shape {row.shape}, not one float32 sample",
            fix="compute the features, and give them as .npz or .csv",
        )


def _check_wave(file: wave.Wave_read, path: str, sample_rate: float | None) -> None:
    if file.getnchannels() != 1:
        raise DataInvalid(
            f"{file.getnchannels()} channels", where=path, fix="mix it down to one channel first"
        )
    if file.getsampwidth() not in _PCM:
        raise DataInvalid(f"PCM of {8 * file.getsampwidth()} bits", where=path, fix="use 16 bits")
    if sample_rate is not None and file.getframerate() != sample_rate:
        raise DataInvalid(
            f"{file.getframerate()} samples per second",
            where=path,
            why=f"the model takes {sample_rate:g}",
            fix="resample it first",
        )


#: Bytes of a sample: dtype, zero level, full scale. WAV stores 8 bits unsigned.
_PCM = {1: ("u1", 128, 2**7), 2: ("<i2", 0, 2**15), 4: ("<i4", 0, 2**31)}


def _pcm(data: bytes, width: int) -> np.ndarray:
    dtype, zero, full = _PCM[width]
    return ((np.frombuffer(data, dtype).astype(np.float64) - zero) / full).astype(np.float32)


def _raw(file: BinaryIO, row: Row) -> Chunks:
    """Rows as raw little-endian numbers in C order, as they arrive. Raises DataInvalid for half a row."""
    size = row.elements * row.dtype.itemsize
    if not size:
        raise UsageError("rows without numbers cannot be told apart on standard input")
    dtype, waiting = row.dtype.newbyteorder("<"), b""
    # read1 returns what is there; read would wait until its buffer is full.
    while data := file.read1(_READ_BYTES):  # type: ignore[attr-defined]
        waiting += data
        count = len(waiting) // size
        rows, waiting = waiting[: count * size], waiting[count * size :]
        if count:
            yield np.frombuffer(rows, dtype).astype(row.dtype).reshape(count, *row.shape)
    if waiting:
        raise DataInvalid("the input ends within a row", where="-", why=f"{len(waiting)} of {size} bytes")
