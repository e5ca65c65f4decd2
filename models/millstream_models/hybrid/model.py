"""Hybrids: most blocks with a constant state, a few with attention, some feed-forward layers of experts.

Sources: Lieber et al., "Jamba: A Hybrid Transformer-Mamba Language Model" (2024); a study of hybrids by
Wang et al. (2025) recommends 3 to 6 recurrent blocks for one of attention.
"""

from __future__ import annotations

import torch
from torch import nn

from millstream_models.core.parts.feed_forward import SwiGLU
from millstream_models.core.parts.mixture import MixtureOfExperts
from millstream_models.core.shell import Block, Mixer, StreamModel
from millstream_models.core.shell.small import INPUTS, OUTPUTS, WIDTH, seeded
from millstream_models.deltanet.model import DeltaNet
from millstream_models.hgrn2.model import HGRN2
from millstream_models.mamba.model import Mamba
from millstream_models.sinks.model import SinkAttention


def interleaved(recurrent: list[Mixer], attention: Mixer, place: int) -> list[Mixer]:
    """The recurrent mixers in order, with the attention mixer at `place` among them."""
    return [*recurrent[:place], attention, *recurrent[place:]]


def jamba() -> StreamModel:
    """Three Mamba blocks and one of attention with a window; every second feed-forward layer of experts."""

    def make() -> StreamModel:
        attention = SinkAttention(WIDTH, 2, sinks=2, window=6)
        mixers = interleaved([Mamba(WIDTH) for _ in range(3)], attention, 3)
        layers = [_feed_forward(i) for i in range(len(mixers))]
        blocks = [Block(WIDTH, mixer, layer) for mixer, layer in zip(mixers, layers, strict=True)]
        return StreamModel(nn.Linear(INPUTS, WIDTH), blocks, WIDTH, OUTPUTS)

    return seeded(make)


def delta_hybrid() -> StreamModel:
    """Gated DeltaNet twice, HGRN2 once, and one block of attention with a window."""

    def make() -> StreamModel:
        delta = [DeltaNet(WIDTH, 2, gated=True) for _ in range(2)]
        gated = HGRN2(WIDTH, 16, torch.zeros(WIDTH))
        mixers = interleaved([*delta, gated], SinkAttention(WIDTH, 2, sinks=1, window=7), 3)
        blocks = [Block(WIDTH, mixer, SwiGLU(WIDTH, 2 * WIDTH)) for mixer in mixers]
        return StreamModel(nn.Linear(INPUTS, WIDTH), blocks, WIDTH, OUTPUTS)

    return seeded(make)


def _feed_forward(number: int) -> nn.Module:
    if number % 2:
        return MixtureOfExperts(WIDTH, WIDTH, experts=4)
    return SwiGLU(WIDTH, 2 * WIDTH)
