"""The frames and labels of an export: from files, or from a reference model's own data set."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from millstream import sequences
from millstream.cli.export_options import ExportOptions
from millstream.errors import DataInvalid, UsageError
from millstream.sequences import Sequences
from millstream_models import ReferenceModel


@dataclass(frozen=True)
class Source:
    """Data, and in words where it comes from."""

    data: Sequences
    origin: str


def read_example(options: ExportOptions, reference: ReferenceModel | None) -> Source:
    """The example that the options name, else the train split of the reference model's data set.

    Raises UsageError, DataInvalid, ToolMissing when the data set is not installed.
    """
    if options.example:
        return Source(sequences.read(options.example, options.time_axis), options.example)
    if reference and reference.dataset:
        return Source(_dataset(reference).train(), f"{reference.dataset}, train split")
    raise UsageError(
        "no example frames",
        why="the proof needs frames to run on",
        fix="--example data.npz with an array x (N, T, ...), or --example noise:64x40 for 64 frames of 40",
    )


def read_labelled(options: ExportOptions, reference: ReferenceModel | None) -> Source | None:
    """The labelled data that the options name, else the test split of the reference model's data set, if any.

    Raises DataInvalid, ToolMissing when the data set is not installed.
    """
    if options.labelled:
        return Source(_with_labels(options.labelled, options.time_axis), options.labelled)
    test = getattr(_dataset(reference), "test", None) if reference and reference.dataset else None
    return Source(test(), f"{reference.dataset}, test split") if reference and test else None


def _dataset(reference: ReferenceModel) -> ModuleType:
    return importlib.import_module(f"millstream.datasets.{reference.dataset}")


def _with_labels(path: str, time_axis: int) -> Sequences:
    data = sequences.read(path, time_axis)
    if not data.labels.size:
        raise DataInvalid(
            "no labels",
            where=path,
            fix="save y beside x: (N,), of each sequence, or (N, T), of each frame",
        )
    return data


def read_labels(options: ExportOptions, reference: ReferenceModel | None) -> tuple[str, ...]:
    """The labels that were given, one a line in a file; else the reference model's own."""
    if options.label:
        return options.label
    if not options.labels:
        return reference.labels if reference else ()
    try:
        lines = Path(options.labels).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError("the labels cannot be read", where=options.labels, why=str(error)) from error
    return tuple(line.strip() for line in lines if line.strip())
