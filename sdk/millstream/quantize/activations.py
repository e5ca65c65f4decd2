"""What a format makes of an activation before it is multiplied."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from millstream.quantize.product import Product


@dataclass(frozen=True)
class RoundedActivation:
    """An activation as its integers say it, the smallest and the largest step of them (0: it was not
    rounded), and how many values lay beyond the largest integer."""

    values: np.ndarray
    steps: tuple[float, float]
    saturated: int


#: From the constants of the quantized graph, a product, and its float activation.
Activations = Callable[[Mapping[str, np.ndarray], Product, np.ndarray], RoundedActivation]


def unrounded(constants: Mapping[str, np.ndarray], product: Product, x: np.ndarray) -> RoundedActivation:
    """The activation as it is: only weights are integers."""
    return RoundedActivation(x, (0.0, 0.0), 0)
