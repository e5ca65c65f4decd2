"""Raw samples in chunks of any length become frames of `length` samples, `hop` samples apart."""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from millstream_runtime.spec import Framing


class Framer:
    """Keeps the samples that still belong to a frame to come: always fewer than `length` after a cut.

    `remainder` has shape (n, *shape of a sample).
    """

    __slots__ = ("_framing", "remainder")

    def __init__(self, framing: Framing, sample_shape: tuple[int, ...], dtype: str) -> None:
        self._framing = framing
        self.remainder = np.zeros((0, *sample_shape), dtype)

    def cut(self, samples: np.ndarray) -> np.ndarray:
        """The frames that these samples complete, (n, length, *shape of a sample); they overlap: read
        only."""
        hop, length = self._framing.hop, self._framing.length
        joined = np.concatenate((self.remainder, samples))
        count = max((len(joined) - length) // hop + 1, 0)
        self.remainder = joined[count * hop :].copy()  # a copy, or it would keep the whole chunk alive
        if not count:
            return joined[:0].reshape(0, length, *joined.shape[1:])
        windows = sliding_window_view(joined, length, axis=0)[: (count - 1) * hop + 1 : hop]
        return np.moveaxis(windows, -1, 1)

    def reset(self) -> None:
        """Forget the remainder."""
        self.remainder = self.remainder[:0].copy()
