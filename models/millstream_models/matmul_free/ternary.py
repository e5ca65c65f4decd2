"""Linear layers with weights of -1, 0 and 1 and activations of 8 bits.

Source: Ma et al., "The Era of 1-bit LLMs: All Large Language Models are in 1.58 Bits" (2024).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from millstream_models.core.parts.norm import RMSNorm

LEVELS = 127
SMALLEST = 1e-5


class TernaryLinear(nn.Module):
    """y = W_q x_q * scales, with a norm of its own before the rounding; gradients pass the rounding by.

    Activations get one scale per frame, the weight one scale in all. In evaluation every number that is
    multiplied is a whole number, so the sum is exact in float32 up to widths of 130,000.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.norm = RMSNorm(inputs, epsilon=1e-8)
        self.weight = nn.Parameter(torch.empty(outputs, inputs).uniform_(-1, 1) * inputs**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x)
        scale = LEVELS / x.abs().amax(-1, keepdim=True).clamp(min=SMALLEST)
        rounded = torch.clamp(torch.round(x * scale), -LEVELS - 1, LEVELS)
        weight, size = ternary(self.weight)
        if self.training:
            x = x + (rounded / scale - x).detach()
            return functional.linear(x, self.weight + (weight * size - self.weight).detach())
        return functional.linear(rounded, weight) * (size / scale)


def ternary(weight: Tensor) -> tuple[Tensor, Tensor]:
    """The nearest of -1, 0, 1 for every weight in units of the mean size, and that size."""
    size = weight.abs().mean().clamp(min=SMALLEST)
    return torch.clamp(torch.round(weight / size), -1, 1), size
