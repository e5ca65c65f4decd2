"""The MLGRU as its equations say: the oracle of the tests."""

from __future__ import annotations

import torch
from torch import Tensor

from millstream_models.core.naive import rms_norm, sigmoid, silu
from millstream_models.matmul_free.model import MLGRU
from millstream_models.matmul_free.ternary import TernaryLinear


def naive(mixer: MLGRU, x: Tensor) -> Tensor:
    """(T, width) -> (T, width)."""
    hidden, outputs = torch.zeros_like(x[0]), []
    for frame in x:
        forget = mixer.bound + (1 - mixer.bound) * sigmoid(ternary_linear(mixer.f, frame))
        hidden = forget * hidden + (1 - forget) * silu(ternary_linear(mixer.c, frame))
        gate = rms_norm(mixer.norm, ternary_linear(mixer.g, frame))
        outputs.append(ternary_linear(mixer.out, gate * hidden * sigmoid(hidden)))
    return torch.stack(outputs)


def ternary_linear(layer: TernaryLinear, x: Tensor) -> Tensor:
    """Integer sums: every weight adds, subtracts or leaves out one whole number."""
    x = rms_norm(layer.norm, x)
    scale = 127 / max(float(x.abs().max()), 1e-5)
    whole = torch.clamp(torch.round(x * scale), -128, 127).long()
    size = layer.weight.abs().sum() / layer.weight.numel()
    signs = torch.clamp(torch.round(layer.weight / size), -1, 1).long()
    return (signs * whole).sum(1).to(x.dtype) * (size / scale)
