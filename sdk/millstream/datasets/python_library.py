"""The text of Python's own standard library, byte by byte: what small language models read and guess.

Only modules that are one file at the top of the library count. A few of them, named here, are held out; the
rest is for training. Every Python brings its own text, so figures hold for one version.
"""

from __future__ import annotations

import sysconfig
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from millstream.errors import DataInvalid
from millstream.sequences import Sequences

#: Modules that no training has read.
HELD_OUT = (
    *("bisect", "calendar", "csv", "fractions", "graphlib", "hashlib", "queue", "sched", "shlex"),
    *("statistics", "textwrap", "zipapp"),
)
#: Bytes of a sequence of `train` and `test`.
LENGTH = 96


def training_text(seed: int = 0) -> NDArray[np.int64]:
    """All modules but those held out, in an order that follows from the seed, as one row of bytes.

    Raises DataInvalid.
    """
    paths = [path for path in sorted(_folder().glob("*.py")) if path.stem not in HELD_OUT]
    order = np.random.default_rng(seed).permutation(len(paths))
    return np.concatenate([_read(paths[i]) for i in order])


def held_out_texts() -> dict[str, NDArray[np.int64]]:
    """The bytes of each held-out module by name. Raises DataInvalid."""
    return {name: _read(_folder() / f"{name}.py") for name in HELD_OUT}


def train() -> Sequences:
    """Sixteen stretches (96,) of the training text, far apart. Raises DataInvalid."""
    return _stretches(training_text(), 16)


def test() -> Sequences:
    """A hundred and twenty stretches (96,) of the held-out modules, each byte with the one that follows as
    its label. Raises DataInvalid."""
    parts = [_stretches(text, 10) for text in held_out_texts().values()]
    return Sequences(
        tuple(frames for part in parts for frames in part.frames),
        np.concatenate([part.labels for part in parts]),
    )


def _stretches(text: NDArray[np.int64], count: int) -> Sequences:
    starts = np.linspace(0, len(text) - LENGTH - 1, count).astype(int)
    following = np.stack([text[i + 1 : i + LENGTH + 1] for i in starts])
    return Sequences(tuple(text[i : i + LENGTH] for i in starts), following)


def _folder() -> Path:
    return Path(sysconfig.get_path("stdlib"))


def _read(path: Path) -> NDArray[np.int64]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataInvalid(
            "a module of the standard library cannot be read",
            where=str(path),
            why=str(error),
            fix="use a Python that comes with the sources of its library",
        ) from error
    return np.frombuffer(data, np.uint8).astype(np.int64)
