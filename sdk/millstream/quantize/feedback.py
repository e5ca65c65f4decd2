"""Rounding one input after the other, each time making good for it in those that are not rounded yet.

GPTQ (arXiv 2210.17323): for y = x W, the rounding of row k of W leaves an error in y that the rows behind it
can take up as far as their inputs move together with input k, which the second moments of the inputs say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from millstream.graph import StepGraph
from millstream.quantize.calibration import Calibration, observed, stream
from millstream.quantize.rounding import LARGEST_INT4, Rounded, int4_scale, nearest

#: Added to the second moments, as a part of their mean: inputs that hardly move say little.
_DAMPING = 0.01


def second_moments(
    graph: StepGraph, names: Sequence[str], calibration: Calibration
) -> Mapping[str, np.ndarray]:
    """The sum of x x^T (n, n) of each named activation (..., n) while the sequences stream."""
    moments: dict[str, np.ndarray] = {}
    for values in stream(observed(graph, names), calibration):
        for name in names:
            rows = values[name].reshape(-1, values[name].shape[-1]).astype(np.float64)
            moments[name] = moments.get(name, 0) + rows.T @ rows
    return moments


def to_int4_with_feedback(weight: np.ndarray, channel: int, moments: np.ndarray, groups: int = 1) -> Rounded:
    """A matrix in int4, -7 to 7, whose products with inputs of these moments (n, n) err least.

    The scale of a channel is that of `to_int4`, for all inputs or for each of so many groups of them. Without
    any moments the values are the nearest.
    """
    # Rows are inputs from here on.
    left = (weight if channel == 1 else weight.T).astype(np.float64)
    scale = np.concatenate([int4_scale(part, 1) for part in np.split(left, groups)])
    steps = np.repeat(scale, len(left) // groups, 0)
    values = _fed_back(left, steps, moments) if moments.any() else nearest(left, steps, LARGEST_INT4).values
    return Rounded(values if channel == 1 else values.T, scale if groups > 1 else scale[0])


def _fed_back(left: np.ndarray, steps: np.ndarray, moments: np.ndarray) -> np.ndarray:
    """The values of rows that are rounded one after the other; `left` is used up."""
    values = np.empty(left.shape, np.int8)
    damped = moments + np.eye(len(moments)) * _DAMPING * np.diag(moments).mean()
    # The rows of this factor say how later inputs make good for an earlier one.
    factor = np.linalg.cholesky(np.linalg.inv(damped)).T
    for row in range(len(left)):
        values[row] = nearest(left[row], steps[row], LARGEST_INT4).values
        error = (left[row] - values[row] * steps[row]) / factor[row, row]
        left[row + 1 :] -= np.outer(factor[row, row + 1 :], error)
    return values
