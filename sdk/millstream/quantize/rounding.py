"""Weights as int8 with one symmetric scale per output channel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

LARGEST = 127


@dataclass(frozen=True)
class Rounded:
    """weight = values * scale, the scale (channels,) float32 laid along the axis of the channels."""

    values: np.ndarray
    scale: np.ndarray


def round_weight(weight: np.ndarray, channel: int) -> Rounded:
    """The nearest int8 values, -127 to 127, so that the largest of each channel is met exactly.

    The scale of a channel is its largest magnitude over 127, and 1 where all its weights are 0.
    """
    others = tuple(axis for axis in range(weight.ndim) if axis != channel)
    largest = np.abs(weight).max(axis=others, keepdims=True)
    scale = np.where(largest > 0, largest / np.float32(LARGEST), 1).astype(np.float32)
    # A channel of subnormal weights has a scale that is not exact: keep the values in their range.
    values = np.clip(np.rint(weight / scale), -LARGEST, LARGEST).astype(np.int8)
    return Rounded(values, scale.reshape(-1))
