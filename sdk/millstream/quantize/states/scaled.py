"""A state as integers, with a scale for each block of neighbouring values.

    largest = max |x| over the block
    q = integer(round(x * (most / max(largest, tiny))))
    x' = float(q) * (largest / most)

Nothing saturates. The largest values (blocks, 1) are kept beside the integers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from millstream.quantize.states.nodes import Nodes
from millstream.quantize.states.storage import Part

#: Values that share a scale, at most: 64 of int8 and their scale take 68 bytes, a quarter of float32 and 6 %.
LARGEST_BLOCK = 64
#: Keeps most / largest finite where a block is all zero.
TINY = 1e-30
_LARGEST = ".largest"


@dataclass(frozen=True)
class Scaled:
    """An integer dtype; its values go from -most to most."""

    dtype: str

    @property
    def most(self) -> int:
        """The largest value; the negative one beyond it is left out, so that a scale serves both signs."""
        return int(np.iinfo(self.dtype).max)

    def parts(self, shape: tuple[int, ...]) -> tuple[Part, ...]:
        return Part("", self.dtype, shape), Part(_LARGEST, "float32", (_blocks(shape)[0], 1))

    def encode(self, state: np.ndarray) -> tuple[np.ndarray, ...]:
        """A block that holds NaN or infinity has that as its largest value, and comes back as NaN."""
        blocks = state.reshape(len(state), *_blocks(state.shape[1:]))
        largest = np.abs(blocks).max(2, keepdims=True)
        with np.errstate(invalid="ignore"):
            steps = blocks * (np.float32(self.most) / np.maximum(largest, np.float32(TINY)))
            return np.rint(steps).astype(self.dtype).reshape(state.shape), largest

    def decode(self, *parts: np.ndarray) -> np.ndarray:
        values, largest = parts
        blocks = values.reshape(*largest.shape[:2], -1).astype(np.float32)
        with np.errstate(invalid="ignore"):
            return (blocks * (largest / np.float32(self.most))).reshape(values.shape)

    def widen(self, write: Nodes, kept: str, state: str, shape: tuple[int, ...]) -> None:
        write.add("Reshape", [kept, write.shape(_blocks(shape))], f"{kept}.blocks")
        write.cast(f"{kept}.blocks", f"{kept}.steps", "float32")
        write.add("Div", [kept + _LARGEST, self._most(write)], f"{kept}.step")
        write.add("Mul", [f"{kept}.steps", f"{kept}.step"], f"{kept}.scaled")
        write.add("Reshape", [f"{kept}.scaled", write.shape(shape)], state)

    def narrow(self, write: Nodes, state: str, kept: str, shape: tuple[int, ...]) -> None:
        tiny = write.constant("state.tiny", np.array(TINY, np.float32))
        axis = write.constant("state.axis", np.array([2], np.int64))
        write.add("Reshape", [state, write.shape(_blocks(shape))], f"{kept}.blocks")
        write.add("Abs", [f"{kept}.blocks"], f"{kept}.magnitude")
        write.add("ReduceMax", [f"{kept}.magnitude", axis], kept + _LARGEST, keepdims=1)
        write.add("Max", [kept + _LARGEST, tiny], f"{kept}.divisor")
        write.add("Div", [self._most(write), f"{kept}.divisor"], f"{kept}.inverse")
        write.add("Mul", [f"{kept}.blocks", f"{kept}.inverse"], f"{kept}.steps")
        write.add("Round", [f"{kept}.steps"], f"{kept}.rounded")
        write.cast(f"{kept}.rounded", f"{kept}.integers", self.dtype)
        write.add("Reshape", [f"{kept}.integers", write.shape(shape)], kept)

    def _most(self, write: Nodes) -> str:
        return write.constant(f"state.most.{self.dtype}", np.array(self.most, np.float32))


def block(values: int) -> int:
    """How many values share a scale: the largest divisor of their number up to `LARGEST_BLOCK`."""
    return max(size for size in range(1, min(values, LARGEST_BLOCK) + 1) if values % size == 0)


def _blocks(shape: tuple[int, ...]) -> tuple[int, int]:
    """How many blocks, and of how many values."""
    size = int(np.prod(shape))
    return size // block(size), block(size)
