"""A constant added to an activation before it is rounded, and taken from the result, where that helps.

NoisyQuant (arXiv 2211.16056): y = W Q(x + N) + (b - W N). Values that always lie half way between two
integers are off by half a step each; with N drawn once, for each channel, their errors become those of values
that lie anywhere. Where they do so already nothing is gained, so N is tried in several strengths, on the
results of the products, and mostly left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from millstream.quantize.product import Product
from millstream.quantize.ranges.choosing import result_error
from millstream.quantize.rounding import LARGEST

#: Amplitudes that are tried, in steps of the integers.
_AMPLITUDES = (0.25, 0.5, 0.75, 1.0)
#: The part of the noise, as RMS, that the constant must take from the results.
LEAST_GAIN = 0.2
#: Of values that lie anywhere between two integers, in steps squared.
_MEAN_SQUARE = 1 / 12


def best_noise(
    x: np.ndarray, products: Sequence[Product], constants: Mapping[str, np.ndarray], largest: float
) -> np.ndarray | None:
    """What to add to each channel of the values x (rows, ..., channels), float32, when they are rounded
    within a range up to `largest`; None where nothing helps enough.

    Only for matrix products whose bias is a constant, as the result is to be put right there.
    """
    plain = (not p.is_convolution and (not p.bias or p.bias in constants) for p in products)
    step = np.float32(largest / LARGEST)
    off = np.rint(x / step) - x / step
    if not all(plain) or np.square(off, dtype=np.float64).mean() <= _MEAN_SQUARE:
        return None
    shape = np.random.default_rng(0).uniform(-1, 1, x.shape[-1])
    best, least = None, (1 - LEAST_GAIN) ** 2 * result_error(x, products, constants, largest)
    for amplitude in _AMPLITUDES:
        noise = (amplitude * step * shape).astype(np.float32)
        error = result_error(x, products, constants, largest, noise)
        if error < least:
            best, least = noise, error
    return best
