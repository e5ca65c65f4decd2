"""Normalisation by fixed statistics: of the raw input, and of channels between layers."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class InputNorm(nn.Module):
    """(x - mean) * scale per channel, so that raw frames go in; both are set from training data."""

    mean: Tensor
    scale: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("scale", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Any shape (..., C) to the same shape."""
        return (x - self.mean) * self.scale


class ChannelNorm(nn.BatchNorm1d):
    """Batch normalisation with the channels last: (B, C) in a step, (B, T, C) in a sequence."""

    def forward(self, input: Tensor) -> Tensor:
        if input.dim() == 2:
            return super().forward(input)
        return super().forward(input.transpose(1, 2)).transpose(1, 2)
