"""The short causal convolution that many mixers put before their recurrence."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from millstream_models.core.forms import Form


class ShortConvolution(nn.Module):
    """silu(depthwise causal convolution), with the last `taps - 1` frames as its ring."""

    def __init__(self, channels: int, taps: int = 4, bias: bool = False) -> None:
        super().__init__()
        bound = 1 / math.sqrt(taps)
        self.weight = nn.Parameter(torch.empty(taps, channels).uniform_(-bound, bound))
        offset = torch.empty(channels).uniform_(-bound, bound) if bias else torch.zeros(channels)
        self.bias = nn.Parameter(offset, requires_grad=bias)

    def mix(self, x: Tensor, ring: Tensor, form: Form) -> tuple[Tensor, Tensor]:
        """(..., channels) and the ring -> (..., channels) and the next ring."""
        y, ring = form.convolve(x, self.weight, self.bias, ring)
        return functional.silu(y), ring

    def initial_ring(self, batch: int) -> Tensor:
        """Zeros before the first frame, (batch, taps - 1, channels)."""
        return self.weight.new_zeros(batch, self.weight.shape[0] - 1, self.weight.shape[1])
