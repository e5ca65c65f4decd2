"""A small vision transformer of SLAB's norm and attention and RePaViT's feed-forward layers."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from millstream_models.foldable.attention import ImageAttention
from millstream_models.foldable.idle_feed_forward import IdleFeedForward
from millstream_models.foldable.progressive_norm import ProgressiveNorm


@dataclass(frozen=True)
class VisionConfig:
    """Sizes. `updates` is how many training passes LayerNorm takes to fade out."""

    channels: int
    height: int
    length: int
    patch: int
    classes: int
    width: int = 64
    heads: int = 4
    blocks: int = 4
    expansion: int = 4
    updates: int = 100


class VisionBlock(nn.Module):
    """x + attention(norm(x)), then a feed-forward layer that holds its own norm and shortcut."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        rows, columns = config.height // config.patch, config.length // config.patch
        self.norm = ProgressiveNorm(config.width, config.updates)
        self.attention = ImageAttention(config.width, config.heads, rows, columns)
        self.feed_forward = IdleFeedForward(config.width, config.expansion * config.width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, tokens, width) -> (B, tokens, width)."""
        return self.feed_forward(x + self.attention(self.norm(x)))


class FoldableVision(nn.Module):
    """(B, channels, height, length) -> (B, classes); a model without state."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        tokens = (config.height // config.patch) * (config.length // config.patch)
        self.embed = nn.Conv2d(config.channels, config.width, config.patch, config.patch)
        self.place = nn.Parameter(torch.randn(1, tokens, config.width) * 0.02)
        self.blocks = nn.ModuleList(VisionBlock(config) for _ in range(config.blocks))
        self.norm = ProgressiveNorm(config.width, config.updates)
        self.head = nn.Linear(config.width, config.classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x).flatten(2).transpose(1, 2) + self.place
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x).mean(1))
