"""How a state is kept between two steps: as integers, with a scale for each block of neighbouring values.

    largest = max |x| over the block
    q = integer(round(x * (most / max(largest, tiny))))
    x' = float(q) * (largest / most)

Each step is one IEEE operation on float32 that no compiler may reassociate, so what is written into the step
graph (`writing`) and what is measured here (`kept`) are the same numbers. Nothing saturates.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

#: Values that share a scale, at most: 64 of int8 and their scale take 68 bytes, a quarter of float32 and 6 %.
LARGEST_BLOCK = 64
#: Keeps most / largest finite where a block is all zero.
TINY = 1e-30
_SCALE_BYTES = 4


@dataclass(frozen=True)
class Storage:
    """An integer dtype; its values go from -most to most."""

    dtype: str

    @property
    def most(self) -> int:
        """The largest value; the negative one beyond it is left out, so that a scale serves both signs."""
        return int(np.iinfo(self.dtype).max)

    def bytes(self, values: int) -> int:
        """What a state of that many values takes, its scales counted."""
        return values * np.dtype(self.dtype).itemsize + _SCALE_BYTES * (values // block(values))

    def encode(self, state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """A float32 state (batch, *shape) as integers of its shape and the largest values (batch, blocks, 1).

        A block that holds NaN or infinity has that as its largest value, and comes back as NaN.
        """
        blocks = state.reshape(len(state), -1, block(state[0].size))
        largest = np.abs(blocks).max(2, keepdims=True)
        with np.errstate(invalid="ignore"):
            steps = blocks * (np.float32(self.most) / np.maximum(largest, np.float32(TINY)))
            return np.rint(steps).astype(self.dtype).reshape(state.shape), largest

    def decode(self, values: np.ndarray, largest: np.ndarray) -> np.ndarray:
        """The float32 state that `encode` kept."""
        blocks = values.reshape(*largest.shape[:2], -1).astype(np.float32)
        with np.errstate(invalid="ignore"):
            return (blocks * (largest / np.float32(self.most))).reshape(values.shape)

    def kept(self, state: np.ndarray) -> np.ndarray:
        """The state as the next step sees it."""
        return self.decode(*self.encode(state))


def block(values: int) -> int:
    """How many values share a scale: the largest divisor of their number up to `LARGEST_BLOCK`."""
    return max(size for size in range(1, min(values, LARGEST_BLOCK) + 1) if values % size == 0)


#: The smallest first.
STORAGES = (Storage("int8"), Storage("int16"))
