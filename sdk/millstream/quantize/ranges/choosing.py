"""Which range an activation gets: that with which the results of its products move least."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from millstream.graph import attributes
from millstream.quantize.product import Product
from millstream.quantize.ranges.entropy import entropy
from millstream.quantize.ranges.min_max import min_max
from millstream.quantize.ranges.percentile import percentile
from millstream.quantize.ranges.squared_error import squared_error
from millstream.quantize.rounding import LARGEST
from millstream.reference.operators import OPERATORS

#: The largest magnitude of a range, from the magnitudes (n,) that were seen.
Method = Callable[[np.ndarray], float]

#: The part of the squared error that a range must take which cuts off some of the example.
LEAST_GAIN = 0.2

METHODS: Mapping[str, Method] = {
    "min-max": min_max,
    "percentile 99.99": percentile(99.99),
    "percentile 99.9": percentile(99.9),
    "squared error": squared_error,
    "entropy": entropy,
}


def best_range(x: np.ndarray, products: Sequence[Product], constants: Mapping[str, np.ndarray]) -> float:
    """The range for the values x (rows, ...) of an activation that these products read.

    Every method is tried; of those with which the products' results err equally the first counts. One that
    cuts anything off must be better by `LEAST_GAIN` than what just holds all that was seen, as what was not
    seen may be larger. The range of an activation that is 0 throughout is 1.
    """
    magnitudes = np.abs(x).ravel()
    if not magnitudes.any():
        return 1.0
    whole = min_max(magnitudes)
    found = dict.fromkeys(filter(None, (method(magnitudes) for method in METHODS.values())))
    errors = {largest: result_error(x, products, constants, largest) for largest in found}
    best = min(errors, key=lambda largest: errors[largest])
    return best if errors[best] <= (1 - LEAST_GAIN) * errors[whole] else whole


def result_error(
    x: np.ndarray,
    products: Sequence[Product],
    constants: Mapping[str, np.ndarray],
    largest: float,
    noise: np.ndarray | None = None,
) -> float:
    """The sum of squares by which the results of the products move when x is rounded within a range, with
    `noise` (channels,) added before and taken away behind."""
    step = np.float32(largest / LARGEST)
    entered = x if noise is None else x + noise
    moved = np.clip(np.rint(entered / step), -LARGEST - 1, LARGEST) * step - entered
    return sum(_energy(moved, product, constants[product.weight]) for product in products)


def _energy(moved: np.ndarray, product: Product, weight: np.ndarray) -> float:
    if product.is_convolution:
        found = OPERATORS["Conv"](moved, weight, None, **attributes(product.node))
        return float(np.square(found, dtype=np.float64).sum())
    matrix = weight if product.channel else weight.T
    return float(np.square(moved @ matrix, dtype=np.float64).sum())
