"""How much a neighbour counts by its distance: what Resize and GridSample interpolate with."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Kernel = Callable[[np.ndarray], np.ndarray]


def linear(distance: np.ndarray) -> np.ndarray:
    """1 at the place itself, 0 from a distance of 1 on."""
    return np.maximum(1 - distance, 0)


def cubic(a: float) -> Kernel:
    """The cubic convolution kernel with parameter `a`, 0 from a distance of 2 on."""

    def kernel(distance: np.ndarray) -> np.ndarray:
        near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
        far = ((a * distance - 5 * a) * distance + 8 * a) * distance - 4 * a
        return np.where(distance <= 1, near, np.where(distance < 2, far, 0.0))

    return kernel
