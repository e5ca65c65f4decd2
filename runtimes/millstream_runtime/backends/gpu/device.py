"""What the run halves for GPUs ask of a device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from millstream_runtime.backends.gpu.dlpack import Given

#: Memory of a device; what it is only its device knows.
Memory = Any


@dataclass(frozen=True)
class Call:
    """A kernel on memory: `blocks` tiles of streams, `columns` blocks for each."""

    kernel: str
    blocks: int
    columns: int
    threads: int
    shared_bytes: int
    memory: tuple[Memory, ...]
    numbers: tuple[int, ...]


class Device(Protocol):
    """One device with the kernels of one step. What is asked of it happens in order; `read` waits for it.

    Several threads may use it. `dlpack` is what DLPack calls it.
    """

    dlpack: tuple[int, int]

    def allocate(self, size: int) -> Memory:
        """`size` bytes, filled with poison: NaN as any float. They live as long as the object."""
        ...

    def part(self, memory: Memory, begin: int, size: int) -> Memory:
        """`size` bytes of memory, from byte `begin` on, a multiple of 512; they keep the whole alive."""
        ...

    def write(self, memory: Memory, array: np.ndarray, begin: int = 0) -> None:
        """Copy a C-contiguous array to memory, from byte `begin` on. The array may change afterwards."""
        ...

    def read(self, array: np.ndarray, memory: Memory, begin: int = 0) -> None:
        """Copy memory from byte `begin` on into a C-contiguous array, when all before is done."""
        ...

    def look(self, array: Any) -> Given:
        """What an array of another library is that lies on this device, C-contiguous. Raises WrongDtype."""
        ...

    def take(self, memory: Memory, given: Given) -> None:
        """Copy an array of another library to memory of its size."""
        ...

    def run(self, call: Call) -> None:
        """Run a call once."""
        ...

    def prepared(self, calls: Sequence[Call]) -> Callable[[], None]:
        """Something that runs the calls one after the other, as often as it is called."""
        ...

    def finish(self) -> None:
        """Wait until everything is done."""
        ...
