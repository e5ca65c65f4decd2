"""64 streams stepped together in a pool against 64 streams stepped one by one.

    python benchmarks/pool.py ABCDE --json build/pool.json

Microseconds per step of one stream, one thread.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import backends
from frames import FRAMES
from rounds import microseconds

from millstream_runtime import Model, propagate

STREAMS = len(FRAMES)


def ways(model: Model) -> Mapping[str, Callable[[], float]]:
    """The same frames, one for each stream, both ways."""
    streams = [model.stream(nonfinite=propagate) for _ in range(STREAMS)]
    pool = model.streams(STREAMS, nonfinite=propagate)
    frames = tuple(FRAMES)

    def one_by_one() -> None:
        for stream, frame in zip(streams, frames, strict=True):
            stream.step(frame)

    def together() -> None:
        pool.step(FRAMES)

    return {
        f"{STREAMS} streams": partial(microseconds, one_by_one, STREAMS),
        f"pool of {STREAMS}": partial(microseconds, together, STREAMS),
    }


if __name__ == "__main__":
    backends.run(__doc__, "microseconds per stream and step, median (ratio to single streams) fastest", ways)
