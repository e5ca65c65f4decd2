"""A state as float16: rounded to the nearest behind a step, without a scale. What is beyond its range becomes
infinite."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from millstream.quantize.states.nodes import Nodes
from millstream.quantize.states.storage import Part


@dataclass(frozen=True)
class Halved:
    """float16: half the bytes, and one pass over the state."""

    dtype: str = "float16"

    def parts(self, shape: tuple[int, ...]) -> tuple[Part, ...]:
        return (Part("", self.dtype, shape),)

    def encode(self, state: np.ndarray) -> tuple[np.ndarray, ...]:
        with np.errstate(over="ignore"):
            return (state.astype(self.dtype),)

    def decode(self, *parts: np.ndarray) -> np.ndarray:
        (values,) = parts
        return values.astype(np.float32)

    def widen(self, write: Nodes, kept: str, state: str, shape: tuple[int, ...]) -> None:
        write.cast(kept, state, "float32")

    def narrow(self, write: Nodes, state: str, kept: str, shape: tuple[int, ...]) -> None:
        write.cast(state, kept, self.dtype)
