"""Rounding one input after the other, each time making good for it in those that are not rounded yet.

GPTQ (arXiv 2210.17323): for y = x W, the rounding of row k of W leaves an error in y that the rows behind it
can take up as far as their inputs move together with input k, which the second moments of the inputs say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from millstream.graph import StepGraph
from millstream.quantize.calibration import Calibration, observed, stream
from millstream.quantize.rounding import LARGEST_INT4, Rounded, int4_scale, nearest, size_of_groups

#: Of the scale of a group, in scales of its channel.
LARGEST_FACTOR = 255
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

    The scale of a channel is that of `to_int4`, for all inputs or, as near as a whole multiple of the
    channel's scale comes, for each of so many groups of them. Without any moments the values are the nearest.
    """
    # Rows are inputs from here on.
    left = (weight if channel == 1 else weight.T).astype(np.float64)
    size = size_of_groups(len(left), groups)
    parts = [left[begin : begin + size] for begin in range(0, len(left), size)]
    scale, factors = _whole_multiples(parts)
    steps = np.repeat(factors * scale, size, 0)[: len(left)]
    values = _fed_back(left, steps, moments) if moments.any() else nearest(left, steps, LARGEST_INT4).values
    return Rounded(values if channel == 1 else values.T, scale, factors if len(parts) > 1 else None)


def _whole_multiples(parts: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The scale of each channel (channels,) and, for the rows of each part, uint8 factors (groups, channels)
    of it that come nearest to the scales of `to_int4`. A factor is never 0; that of one group is 1."""
    wanted = np.stack([np.where(part.any(0), int4_scale(part, 1)[0], 0) for part in parts])
    most = LARGEST_FACTOR if len(parts) > 1 else 1
    scale = wanted.max(0) / np.float32(most)
    scale = np.where(scale > 0, scale, 1).astype(np.float32)
    return scale, np.clip(np.rint(wanted / scale), 1, most).astype(np.uint8)


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
