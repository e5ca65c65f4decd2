"""Which class is taken for which, on labelled sequences."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from millstream.errors import DataInvalid
from millstream.sequences import Sequences
from millstream_runtime.model import Model


@dataclass(frozen=True)
class Confusion:
    """`counts[i][j]` sequences of class i were taken for class j; `labels` are the names of the classes.

    `target` made the predictions, on the sequences that `origin` names.
    """

    target: str
    origin: str
    labels: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]

    @property
    def accuracy(self) -> float:
        counts = np.array(self.counts)
        return float(np.trace(counts) / counts.sum())


def confusion(model: Model, data: Sequences, origin: str) -> Confusion:
    """Stream each sequence through the model: the class of a frame with a label, or of a sequence behind its
    last, is the largest value of the output.

    Raises DataInvalid for a model whose first output is no vector of classes, and for labels outside it.
    """
    from millstream.prove_quantized import labelled_outputs

    shape = model.spec.outputs[0].shape
    if len(shape) != 1:
        raise DataInvalid(
            "labelled data for a model without classes", where=origin, why=f"its output has shape {shape}"
        )
    classes = shape[0]
    labelled = data.answers
    if labelled.size and not 0 <= labelled.min() <= labelled.max() < classes:
        raise DataInvalid(
            f"labels outside 0 to {classes - 1}", where=origin, fix="label the data with the model's classes"
        )
    found = labelled_outputs(model.core, data).argmax(1)
    counts = np.zeros((classes, classes), int)
    np.add.at(counts, (labelled, found), 1)
    labels = model.spec.labels or tuple(map(str, range(classes)))
    return Confusion(model.target.name, origin, labels, tuple(tuple(row) for row in counts.tolist()))
