"""A feed-forward layer in which most hidden channels skip the activation, so that they fold into one matrix.

Source of the maths: Xu et al., "RePaViT: Scalable Vision Transformer Acceleration via Structural
Reparameterization on Feedforward Network Layers" (ICML 2025).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from millstream_models.foldable.progressive_norm import TokenBatchNorm


class IdleFeedForward(nn.Module):
    """[x +] contract(norm(GELU of the first hidden channels, the others as they are)), channels last.

    Args:
        width: of x.
        hidden: channels between the two layers.
        idle: the share of hidden channels without activation; ceil(hidden * (1 - idle)) have it.
        shortcut: whether x is added.
    """

    def __init__(self, width: int, hidden: int, idle: float = 0.75, shortcut: bool = True) -> None:
        super().__init__()
        self.norm = TokenBatchNorm(width)
        self.expand = nn.Linear(width, hidden)
        self.activation = nn.GELU()
        self.hidden_norm = TokenBatchNorm(hidden)
        self.contract = nn.Linear(hidden, width)
        self.active = math.ceil(hidden * (1 - idle))
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        """(..., width) -> (..., width)."""
        hidden = self.expand(self.norm(x))
        active, idle = hidden[..., : self.active], hidden[..., self.active :]
        y = self.contract(self.hidden_norm(torch.cat((self.activation(active), idle), dim=-1)))
        return x + y if self.shortcut else y
