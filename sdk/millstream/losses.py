"""What a rewritten step loses against the float step, on labelled data or on the numbers themselves."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from millstream.graph import StepGraph
from millstream.prove_quantized import accuracy, labelled_outputs
from millstream.quantize.calibration import Calibration
from millstream.quantize.error import relative_errors
from millstream.quantize.search import Loss
from millstream.sequences import Sequences
from millstream_runtime.core import Core


class Losses:
    """Losses of rewritten forms of one flat float step; `core_of` opens a graph under the reference.

    `metric` says what is lost: accuracy on `labelled`, or without labels the relative RMS error of the
    outputs over the calibration. `data` is all that it is measured on.
    """

    def __init__(
        self,
        flat: StepGraph,
        core_of: Callable[[StepGraph], Core],
        calibration: Calibration,
        labelled: Sequences | None,
    ) -> None:
        self._flat = flat
        self._core_of = core_of
        self._calibration = calibration
        self._labelled = labelled if labelled is not None and labelled.labels.size else None
        self._exact = labelled_outputs(core_of(flat), self._labelled) if self._labelled else None
        self._outputs = [tensor.name for tensor in flat.outputs]

    @property
    def metric(self) -> str:
        """What the first number of a loss is."""
        return "accuracy lost" if self._labelled else "relative RMS error of the outputs"

    @property
    def data(self) -> tuple[np.ndarray, ...]:
        """Every array that losses are measured on."""
        tested = self._labelled
        return (*self._calibration.sequences, *((*tested.frames, tested.labels) if tested else ()))

    def of(self, made: StepGraph) -> Loss:
        """What the form loses."""
        if self._labelled is None or self._exact is None:
            error = max(relative_errors(self._flat, made, self._outputs, self._calibration).values())
            return Loss(error, error)
        got = labelled_outputs(self._core_of(made), self._labelled)
        lost = accuracy(self._exact, self._labelled) - accuracy(got, self._labelled)
        return Loss(lost, _relative(got, self._exact))


def _relative(got: np.ndarray, want: np.ndarray) -> float:
    size = float(np.square(want, dtype=np.float64).sum())
    gap = float(np.square(got - want, dtype=np.float64).sum())
    return (gap / size) ** 0.5 if size else float(bool(gap))
