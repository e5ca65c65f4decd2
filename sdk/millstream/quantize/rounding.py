"""Weights as small integers with one symmetric scale per output channel.

A channel that holds nothing but 0 and one magnitude is ternary already: that magnitude is its scale, so that
it is exact, and takes 2 bits in whatever holds integers as narrow as they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

#: Of int8; -128 is left out, so that a scale serves both signs.
LARGEST = 127
LARGEST_INT16 = 32767
#: Of int4, for the same reason.
LARGEST_INT4 = 7
#: Parts of the largest magnitude that are tried for the range of a channel of int4.
_CLIPPED = np.linspace(0.4, 1.0, 31)


@dataclass(frozen=True)
class Rounded:
    """weight = values * scale: values int8 or int16, the scale (channels,) float32 laid along the axis of the
    channels; a matrix in groups of inputs has a factor (groups, channels) uint8 beside it for each."""

    values: np.ndarray
    scale: np.ndarray
    factors: np.ndarray | None = None

    def steps(self, channel: int) -> np.ndarray:
        """The scale in a shape that broadcasts with the values, whose channels lie along that axis."""
        if self.factors is None:
            return self.scale.reshape([-1 if axis == channel else 1 for axis in range(self.values.ndim)])
        inputs, groups = self.values.shape[1 - channel], len(self.factors)
        repeated = np.repeat(self.factors * self.scale, size_of_groups(inputs, groups), 0)[:inputs]
        return repeated if channel else repeated.T


def size_of_groups(inputs: int, groups: int) -> int:
    """How many inputs a group has: an even number, as two weights of int4 share a byte. The last group may
    have fewer."""
    return -(-inputs // (2 * groups)) * 2


def to_int8(weight: np.ndarray, channel: int) -> Rounded:
    """The nearest values, -127 to 127, so that the largest of each channel is met exactly.

    The scale of a channel is its largest magnitude over 127, and 1 where all its weights are 0.
    """
    return nearest(weight, _holding(weight, channel, LARGEST), LARGEST)


def to_int16(weight: np.ndarray, channel: int) -> Rounded:
    """As `to_int8`, with values of int16 from -32767 to 32767."""
    return nearest(weight, _holding(weight, channel, LARGEST_INT16), LARGEST_INT16)


def to_int4(weight: np.ndarray, channel: int) -> Rounded:
    """The nearest values, -7 to 7, in the range of each channel that makes its squared error least.

    With so few steps a range that cuts off the largest weights is often better than one that holds them.
    """
    return nearest(weight, int4_scale(weight, channel), LARGEST_INT4)


def int4_scale(weight: np.ndarray, channel: int) -> np.ndarray:
    """The scale of each channel that `to_int4` takes, shaped to broadcast with the weight."""
    others = _others(weight, channel)
    largest = largest_magnitude(weight, channel)
    best = _holding(weight, channel, LARGEST_INT4)
    least = np.where(_ternary(weight, channel), 0, np.inf)
    for part in _CLIPPED:
        scale = _scale_of(largest * np.float32(part), LARGEST_INT4)
        rounded = np.clip(np.rint(weight / scale), -LARGEST_INT4, LARGEST_INT4) * scale
        error = np.square(weight - rounded, dtype=np.float64).sum(axis=others, keepdims=True)
        best, least = np.where(error < least, scale, best), np.minimum(error, least)
    return best


def to_ternary(weight: np.ndarray, channel: int) -> Rounded:
    """-1, 0 or 1: what is above half the mean magnitude, as in BitNet b1.58 (arXiv 2402.17764).

    One scale for the whole weight, the best for these values; exact for a weight that is ternary already.
    """
    mean = max(float(np.abs(weight).mean()), float(np.finfo(np.float32).tiny))
    values = np.clip(np.rint(weight / np.float32(mean)), -1, 1).astype(np.int8)
    size = float(np.abs(values).sum()) or 1.0
    scale = np.float32((weight.astype(np.float64) * values).sum() / size)
    return Rounded(values, np.full(weight.shape[channel], scale or np.float32(1)))


def nearest(weight: np.ndarray, scale: np.ndarray, largest: int) -> Rounded:
    """The nearest values on a scale that broadcasts with the weight, held between -largest and largest."""
    dtype = np.int8 if largest <= LARGEST else np.int16
    values = np.clip(np.rint(weight / scale), -largest, largest).astype(dtype)
    return Rounded(values, scale.reshape(-1))


def largest_magnitude(weight: np.ndarray, channel: int) -> np.ndarray:
    """Of each channel, shaped to broadcast with the weight."""
    return np.abs(weight).max(axis=_others(weight, channel), keepdims=True)


def _holding(weight: np.ndarray, channel: int, steps: int) -> np.ndarray:
    """The scale of each channel with which so many steps hold its largest magnitude, or one where it is
    ternary."""
    largest = largest_magnitude(weight, channel)
    return np.where(_ternary(weight, channel), _scale_of(largest, 1), _scale_of(largest, steps))


def _ternary(weight: np.ndarray, channel: int) -> np.ndarray:
    """Whether each channel holds nothing but 0 and one magnitude, shaped to broadcast with the weight."""
    magnitudes = np.abs(weight)
    held = (magnitudes == 0) | (magnitudes == largest_magnitude(weight, channel))
    return held.all(axis=_others(weight, channel), keepdims=True)


def _others(weight: np.ndarray, channel: int) -> tuple[int, ...]:
    return tuple(axis for axis in range(weight.ndim) if axis != channel)


def _scale_of(largest: np.ndarray, steps: int) -> np.ndarray:
    # A channel of subnormal weights has a scale that is not exact; `nearest` keeps the values in their range.
    scale = largest / np.float32(steps)
    return np.where(scale > 0, scale, 1).astype(np.float32)
