"""Data sets that come inside the `aeon` package.

It is never imported: that would pull in numba, and only its text files are needed.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from millstream.errors import DataInvalid, ToolMissing
from millstream.sequences import Sequences


def folder(name: str) -> Path:
    """The folder of one data set. Raises ToolMissing."""
    spec = importlib.util.find_spec("aeon")
    if spec is None or not spec.submodule_search_locations:
        raise ToolMissing(
            f"the {name} data is not installed",
            where="package aeon",
            why="the data set comes inside that package",
            fix="pip install --no-deps aeon",
        )
    return Path(spec.submodule_search_locations[0], "datasets", "data", name)


def text(path: Path) -> str:
    """A file of a data set. Raises DataInvalid."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise invalid(path, str(error)) from error


def labelled(path: Path, channels: int, labels: Sequence[str]) -> Sequences:
    """A `.ts` file: after `@data`, one sequence a line, as channel:...:channel:label, to frames (T, channels)
    and the place of each label among `labels`. Raises DataInvalid.
    """
    _, marker, body = text(path).partition("@data\n")
    parsed = [_parse(line, path, channels, labels) for line in body.splitlines() if line.strip()]
    if not marker or not parsed:
        raise invalid(path, "no line of data after @data")
    return Sequences(
        tuple(frames for frames, _ in parsed), np.array([label for _, label in parsed], np.int64)
    )


def _parse(line: str, path: Path, channels: int, labels: Sequence[str]) -> tuple[NDArray[np.float32], int]:
    *values, label = line.split(":")
    try:
        frames = np.array([channel.split(",") for channel in values], dtype=np.float32).T
    except ValueError as error:
        raise invalid(path, str(error)) from error
    if frames.ndim != 2 or frames.shape[1] != channels or label not in labels:
        raise invalid(path, f"a sequence of shape {frames.shape} labelled {label}")
    frames = np.ascontiguousarray(frames)
    frames.flags.writeable = False
    return frames, list(labels).index(label)


def invalid(path: Path, why: str) -> DataInvalid:
    """The error for a file that is not what it should be."""
    return DataInvalid(
        f"the {path.parent.name} data cannot be read",
        where=str(path),
        why=why,
        fix="pip install --force-reinstall --no-deps aeon",
    )
