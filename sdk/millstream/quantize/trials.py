"""Trials of a search kept in a file, so that a search that was broken off goes on where it was."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from millstream.errors import DataInvalid, UsageError
from millstream.graph import StepGraph
from millstream.quantize.search import Loss, Trial
from millstream.writing import replace


def identity(graph: StepGraph, arrays: Iterable[np.ndarray]) -> str:
    """What trials belong to: the float step, and the data that it was tried on."""
    digest = hashlib.sha256(graph.to_bytes())
    for array in arrays:
        digest.update(str((array.shape, array.dtype)).encode() + np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


class TrialFile:
    """The trials of one float step on one set of data. Without a path they are kept in memory only."""

    def __init__(self, path: str | None, identity: str) -> None:
        self._path = path
        self._identity = identity
        self._trials: list[Trial] = _read(path, identity) if path and Path(path).exists() else []

    @property
    def trials(self) -> Sequence[Trial]:
        """What was measured so far."""
        return tuple(self._trials)

    def add(self, trial: Trial) -> None:
        """Keep a trial. Raises WriteFailed; the file stays as it was then."""
        self._trials.append(trial)
        if self._path:
            document = {"identity": self._identity, "trials": [_plain(each) for each in self._trials]}
            replace(self._path, json.dumps(document, indent=1).encode())


def _read(path: str, identity: str) -> list[Trial]:
    """The trials of a file. Raises DataInvalid for what is none, UsageError for those of something else."""
    try:
        document = json.loads(Path(path).read_text(encoding="utf-8"))
        found, trials = document["identity"], [_trial(each) for each in document["trials"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataInvalid("these are no trials of a search", where=path, why=str(error)) from error
    if found != identity:
        raise UsageError(
            "the trials are of another model, or were measured on other data",
            where=path,
            fix="name another file, or delete this one",
        )
    return trials


def _plain(trial: Trial) -> dict[str, Any]:
    return {
        "formats": dict(trial.formats),
        "metric": trial.loss.metric,
        "error": trial.loss.error,
        "bytes": trial.bytes,
    }


def _trial(plain: dict[str, Any]) -> Trial:
    formats = {str(output): str(name) for output, name in plain["formats"].items()}
    return Trial(formats, Loss(float(plain["metric"]), float(plain["error"])), int(plain["bytes"]))
