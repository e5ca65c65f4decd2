"""Small untrained models for the catalogue: two blocks, the same weights every time."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from millstream_models.core.parts.feed_forward import SwiGLU
from millstream_models.core.shell.block import Block
from millstream_models.core.shell.mixer import Mixer
from millstream_models.core.shell.model import StreamModel

INPUTS, WIDTH, OUTPUTS, BLOCKS = 12, 32, 8, 2


def small(make: Callable[[int], Mixer]) -> StreamModel:
    """Frames of 12 numbers, two blocks of width 32, 8 outputs; `make(i)` gives the mixer of block i."""
    return small_stack(lambda i: Block(WIDTH, make(i), SwiGLU(WIDTH, 2 * WIDTH)))


def small_stack(make: Callable[[int], Mixer]) -> StreamModel:
    """The same around whole blocks, for systems with a block of their own."""
    return seeded(
        lambda: StreamModel(nn.Linear(INPUTS, WIDTH), [make(i) for i in range(BLOCKS)], WIDTH, OUTPUTS)
    )


def seeded(make: Callable[[], StreamModel]) -> StreamModel:
    """A model in evaluation mode with the same weights every time; torch's random state is left alone."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return make().eval()
