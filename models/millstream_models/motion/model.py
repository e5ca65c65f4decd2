"""Activities from a smart watch: Gated DeltaNet over raw samples of accelerometer and gyroscope."""

from __future__ import annotations

from torch import nn

from millstream_models.core.parts.feed_forward import SwiGLU
from millstream_models.core.shell import Block, StreamModel, seeded
from millstream_models.deltanet.model import DeltaNet
from millstream_models.lmuformer.norm import InputNorm

CHANNELS, WIDTH, HEADS, BLOCKS = 6, 24, 2, 2
LABELS = ("Standing", "Running", "Walking", "Badminton")


def motion() -> StreamModel:
    """Samples (6,) at 10 Hz, as the watch gives them, to a score for each of four activities; untrained."""

    def block() -> Block:
        return Block(WIDTH, DeltaNet(WIDTH, HEADS, gated=True), SwiGLU(WIDTH, 2 * WIDTH))

    return seeded(
        lambda: StreamModel(
            nn.Sequential(InputNorm(CHANNELS), nn.Linear(CHANNELS, WIDTH)),
            [block() for _ in range(BLOCKS)],
            WIDTH,
            len(LABELS),
        )
    )
