"""How a float32 state is kept between two steps: as one tensor or several that take fewer bytes.

What is written into the step graph (`Storage.widen`, `Storage.narrow`) and what is measured here (`kept`) are
the same numbers: each step is one IEEE operation that no compiler may reassociate.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from millstream.quantize.states.nodes import Nodes


@dataclass(frozen=True)
class Part:
    """One tensor that a state is kept as (no batch dimension). Its name is the state's and `suffix`."""

    suffix: str
    dtype: str
    shape: tuple[int, ...]


class Storage(Protocol):
    """A way to keep a state; two that are equal keep alike."""

    @property
    def dtype(self) -> str:
        """Of the values themselves."""
        ...

    def parts(self, shape: tuple[int, ...]) -> tuple[Part, ...]:
        """The tensors that a state of this shape is kept as, first the values, of the same shape."""
        ...

    def encode(self, state: np.ndarray) -> tuple[np.ndarray, ...]:
        """The parts of a float32 state, all (batch, ...)."""
        ...

    def decode(self, *parts: np.ndarray) -> np.ndarray:
        """The float32 state that `encode` kept."""
        ...

    def widen(self, write: Nodes, kept: str, state: str, shape: tuple[int, ...]) -> None:
        """Write what makes the float32 `state` of the parts of `kept`."""
        ...

    def narrow(self, write: Nodes, state: str, kept: str, shape: tuple[int, ...]) -> None:
        """Write what makes the parts of `kept` of the float32 `state`."""
        ...


def kept(storage: Storage, state: np.ndarray) -> np.ndarray:
    """A float32 state (batch, ...) as the next step sees it."""
    return storage.decode(*storage.encode(state))


def kept_bytes(storage: Storage, values: int) -> int:
    """What a state of that many values takes."""
    parts = storage.parts((values,))
    return sum(math.prod(part.shape) * np.dtype(part.dtype).itemsize for part in parts)
