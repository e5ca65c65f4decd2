"""Byte-level language models of one size: what four recurrences make of the same text in the same time."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from millstream_models.core.parts.feed_forward import SwiGLU
from millstream_models.core.shell import Block, StreamModel, seeded
from millstream_models.deltanet.model import DeltaNet
from millstream_models.gla.model import GatedLinearAttention
from millstream_models.hgrn2.model import lower_bounds
from millstream_models.mamba.model import Mamba
from millstream_models.matmul_free.model import MLGRU, TernarySwiGLU

VOCABULARY = 256
#: Head width 24; two blocks. Hidden widths are chosen for one number of parameters, within one percent.
WIDTH, HEADS, BLOCKS = 96, 4, 2


def mamba_bytes() -> StreamModel:
    """Three blocks of Mamba of order 8, without feed-forward layers, as published."""
    return _model(95, 3, lambda _: Block(95, Mamba(95, order=8)))


def gla_bytes() -> StreamModel:
    """Gated linear attention, keys half as wide as values."""
    return _model(
        WIDTH, BLOCKS, lambda _: Block(WIDTH, GatedLinearAttention(WIDTH, HEADS), SwiGLU(WIDTH, 182))
    )


def gated_deltanet_bytes() -> StreamModel:
    """Gated DeltaNet with a short convolution before each of queries, keys and values."""
    return _model(
        WIDTH, BLOCKS, lambda _: Block(WIDTH, DeltaNet(WIDTH, HEADS, gated=True), SwiGLU(WIDTH, 157))
    )


def mlgru_bytes() -> StreamModel:
    """The MatMul-free model: every layer between embedding and head is ternary."""
    bounds = lower_bounds(torch.zeros(BLOCKS, WIDTH))
    return _model(
        WIDTH, BLOCKS, lambda i: Block(WIDTH, MLGRU(WIDTH, bounds[i].clone()), TernarySwiGLU(WIDTH, 191))
    )


def _model(width: int, blocks: int, make: Callable[[int], Block]) -> StreamModel:
    """Bytes (B, T) int64 to logits of the next byte (B, T, 256)."""
    return seeded(
        lambda: StreamModel(
            nn.Embedding(VOCABULARY, width), [make(i) for i in range(blocks)], width, VOCABULARY
        )
    )
