"""Raw samples in chunks of any length become frames of `length` samples, `hop` samples apart."""

from __future__ import annotations

import numpy as np

from millstream_runtime.spec import Framing


class Framer:
    """Keeps the samples that still belong to a frame to come: always fewer than `length` after a cut.

    `remainder` has shape (n, *shape of a sample).
    """

    __slots__ = ("_framing", "remainder")

    def __init__(self, framing: Framing, sample_shape: tuple[int, ...], dtype: str) -> None:
        self._framing = framing
        self.remainder = np.zeros((0, *sample_shape), dtype)

    def cut(self, samples: np.ndarray) -> list[np.ndarray]:
        """The frames that these samples complete, each of shape (length, *shape of a sample)."""
        hop, length = self._framing.hop, self._framing.length
        joined = np.concatenate((self.remainder, samples))
        starts = range(0, len(joined) - length + 1, hop)
        self.remainder = joined[len(starts) * hop :].copy()  # a copy, or it would keep the whole chunk alive
        return [joined[start : start + length] for start in starts]

    def reset(self) -> None:
        """Forget the remainder."""
        self.remainder = self.remainder[:0].copy()
