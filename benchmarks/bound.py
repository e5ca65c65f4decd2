"""The least that a step can take: its weights read once by one core, timed in turn with everything else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from frames import Step

_BYTES = "bytes"


def float32(workload: str, folder: Path) -> None:
    _note(workload, folder, bytes_per_weight=4)


def int8(workload: str, folder: Path) -> None:
    _note(workload, folder, bytes_per_weight=1)


def open_step(folder: Path) -> Step:
    """A step that is the dot product of the two halves of a buffer: it reads every byte once.

    The buffer lies as Millstream lays weights, because on ordinary pages it is read half as fast.
    """
    from millstream_runtime.backends.arrays import aligned_copy

    numbers = int((folder / _BYTES).read_text()) // 4
    half, other = (
        aligned_copy(np.ones(numbers // 2 * 2, np.float32).tobytes()).view(np.float32).reshape(2, -1)
    )

    def step(frame: np.ndarray) -> np.ndarray:
        return half.dot(other)

    return step


def _note(name: str, folder: Path, bytes_per_weight: int) -> None:
    from workloads import workload

    weights = sum(parameter.numel() for parameter in workload(name).parameters())
    (folder / _BYTES).write_text(str(weights * bytes_per_weight))
