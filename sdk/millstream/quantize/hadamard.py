"""Rotations that spread each channel over all others."""

from __future__ import annotations

import math

import numpy as np


def mixing(width: int) -> np.ndarray:
    """An orthogonal matrix (width, width), float64, no entry of which is larger than sqrt(2 / width).

    Sylvester's Hadamard matrix for the powers of two in the width, Hartley's transform for the rest, and a
    sign for each input, always the same, so that an offset that all channels share is spread as well.
    """
    rest = width
    while rest % 2 == 0:
        rest //= 2
    angles = 2 * np.pi * np.outer(np.arange(rest), np.arange(rest)) / rest
    matrix = (np.cos(angles) + np.sin(angles)) / np.sqrt(rest)
    while len(matrix) < width:
        matrix = np.kron(matrix, np.array([[1, 1], [1, -1]]) / np.sqrt(2))
    return np.random.default_rng(0).choice([-1.0, 1.0], width)[:, None] * matrix


def remaining(x: np.ndarray, turned: np.ndarray) -> float:
    """The part of the noise that a rotation leaves when steps follow the largest value of each row: x and
    the same rotated, (..., channels)."""
    before, after = (float(np.square(np.abs(each).max(-1), dtype=np.float64).sum()) for each in (x, turned))
    return math.sqrt(after / before) if before else 1.0
