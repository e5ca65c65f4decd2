"""Pushing chunks of 16 frames into a stream against 16 steps of it.

    python benchmarks/chunks.py ABCDE --json build/chunks.json

Microseconds per frame, one thread. `push` also copies every output, because it returns all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import backends
from frames import FRAMES
from rounds import microseconds

from millstream_runtime import Model, propagate

FRAMES_PER_CHUNK = 16


def ways(model: Model) -> Mapping[str, Callable[[], float]]:
    """The same frames, in two streams of the same model."""
    stepped, pushed = (model.stream(nonfinite=propagate) for _ in range(2))
    chunk = FRAMES[:FRAMES_PER_CHUNK]
    frames = tuple(chunk)

    def one_by_one() -> None:
        for frame in frames:
            stepped.step(frame)

    def at_once() -> None:
        pushed.push(chunk)

    return {
        "step": partial(microseconds, one_by_one, FRAMES_PER_CHUNK),
        f"push of {FRAMES_PER_CHUNK}": partial(microseconds, at_once, FRAMES_PER_CHUNK),
    }


if __name__ == "__main__":
    backends.run(__doc__, "microseconds per frame, median (ratio to single steps) fastest", ways)
