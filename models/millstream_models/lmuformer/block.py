"""One LMUFormer block: a Legendre memory mixes over time, then two linear layers over channels."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from millstream_models.lmuformer.config import LMUFormerConfig
from millstream_models.lmuformer.memory import LegendreMemory
from millstream_models.lmuformer.norm import ChannelNorm


class TokenMixer(nn.Module):
    """h[t] = relu(W [m[t]; x[t]] + b): one scalar per frame drives a memory that all channels read.

    No h feeds back into the memory, which keeps it linear and lets a sequence run in parallel.
    """

    def __init__(self, width: int, order: int, theta: float) -> None:
        super().__init__()
        self.drive = nn.Linear(width, 1)
        self.memory = LegendreMemory(order, theta)
        self.read = nn.Linear(order + width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, width) -> (B, T, width)."""
        return self._read(self.memory(self._drive(x)), x)

    def step(self, x: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """(B, width) and the memory (B, order) -> (B, width) and the next memory."""
        memory = self.memory.step(self._drive(x), memory)
        return self._read(memory, x), memory

    def _drive(self, x: Tensor) -> Tensor:
        return torch.relu(self.drive(x))

    def _read(self, memory: Tensor, x: Tensor) -> Tensor:
        return torch.relu(self.read(torch.cat((memory, x), dim=-1)))


class ChannelMixer(nn.Module):
    """Two linear layers over the channels of one frame, (..., width) -> (..., width)."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.expand = nn.Linear(width, hidden)
        self.expand_norm = ChannelNorm(hidden)
        self.contract = nn.Linear(hidden, width)
        self.contract_norm = ChannelNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        hidden = nn.functional.gelu(self.expand_norm(self.expand(x)))
        return torch.relu(self.contract_norm(self.contract(hidden)))


class Block(nn.Module):
    """Token mixer and channel mixer, each with a residual around it."""

    def __init__(self, config: LMUFormerConfig) -> None:
        super().__init__()
        self.token = TokenMixer(config.width, config.order, config.theta)
        self.project = nn.Linear(config.width, config.width)
        self.project_norm = ChannelNorm(config.width)
        self.channel = ChannelMixer(config.width, config.expansion * config.width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, width) -> (B, T, width)."""
        return self._finish(x, self.token(x))

    def step(self, x: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """(B, width) and the memory (B, order) -> (B, width) and the next memory."""
        mixed, memory = self.token.step(x, memory)
        return self._finish(x, mixed), memory

    def _finish(self, x: Tensor, mixed: Tensor) -> Tensor:
        y = x + self.project_norm(self.project(mixed))
        return y + self.channel(y)
