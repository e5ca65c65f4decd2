"""A norm that starts as LayerNorm and ends as BatchNorm, so that it can be folded away after training.

Source of the maths: Guo et al., "SLAB: Efficient Transformers with Simplified Linear Attention and
Progressive Re-parameterized Batch Normalization" (ICML 2024).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class TokenBatchNorm(nn.BatchNorm1d):
    """Batch normalisation with the channels last, over everything before them: (..., C) -> (..., C)."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.reshape(-1, input.shape[-1])).reshape(input.shape)


class ProgressiveNorm(nn.Module):
    """y = weight * LayerNorm(x) + (1 - weight) * (BatchNorm(x) + skip * x), channels last.

    `weight` goes linearly from 1 to 0 over `updates` forward passes in training mode. In evaluation mode
    only the second term is computed, which is what training ends with and what can be folded: before the
    weight has reached 0 the two modes compute different functions.
    """

    done: Tensor

    def __init__(self, channels: int, updates: int, skip: float = 1.0) -> None:
        super().__init__()
        self.layer_norm = nn.LayerNorm(channels)
        self.batch_norm = TokenBatchNorm(channels)
        self.skip = nn.Parameter(torch.tensor(skip))
        self.updates = updates
        self.register_buffer("done", torch.zeros((), dtype=torch.int64))

    @property
    def weight(self) -> float:
        """The share of LayerNorm in the next training pass, from 1 to 0."""
        return max(0.0, 1 - int(self.done) / self.updates)

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) -> (..., C)."""
        if not self.training:
            return self._batch(x)
        weight = self.weight
        self.done += 1
        y = self._batch(x)
        return y if weight == 0 else weight * self.layer_norm(x) + (1 - weight) * y

    def _batch(self, x: Tensor) -> Tensor:
        return self.batch_norm(x) + self.skip * x
