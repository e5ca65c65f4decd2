"""What the naive definitions share: the field's functions, one frame at a time, as their formulas say.

A naive definition is `naive(mixer, x)` in a system's `naive.py`: one sequence (T, width) through the mixer's
weights, by loops over time, in the dtype of `x`; float64 is meant. It shares no arithmetic with the mixer: no
form of time, no coarse operation, no torch layer.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def linear(layer: nn.Module, x: Tensor) -> Tensor:
    """W x + b of one frame (I,) -> (O,)."""
    y = layer.weight @ x  # type: ignore[operator]
    return y if layer.bias is None else y + layer.bias  # type: ignore[operator]


def sigmoid(x: Tensor) -> Tensor:
    """1 / (1 + e^-x)."""
    return 1 / (1 + torch.exp(-x))


def silu(x: Tensor) -> Tensor:
    """x sigmoid(x), also called swish."""
    return x * sigmoid(x)


def softplus(x: Tensor) -> Tensor:
    """log(1 + e^x), without overflow."""
    return torch.log1p(torch.exp(-x.abs())) + torch.clamp(x, min=0)


def elu_plus_one(x: Tensor) -> Tensor:
    """x + 1 above zero and e^x below."""
    return torch.where(x > 0, x + 1, torch.exp(torch.clamp(x, max=0)))


def rms_norm(norm: nn.Module, x: Tensor) -> Tensor:
    """x / sqrt(mean x² + ε) * gain over the last axis."""
    mean = (x * x).sum(-1, keepdim=True) / x.shape[-1]
    return x / torch.sqrt(mean + norm.epsilon) * norm.gain  # type: ignore[operator]


def layer_norm(norm: nn.Module, x: Tensor) -> Tensor:
    """(x - mean) / sqrt(variance + ε) * gain + bias over the last axis."""
    centred = x - x.sum(-1, keepdim=True) / x.shape[-1]
    variance = (centred * centred).sum(-1, keepdim=True) / x.shape[-1]
    return centred / torch.sqrt(variance + norm.epsilon) * norm.gain + norm.bias  # type: ignore[operator]


def unit(x: Tensor) -> Tensor:
    """x / |x|, with 1e-6 under the root."""
    return x / torch.sqrt((x * x).sum(-1, keepdim=True) + 1e-6)


def depthwise(weight: Tensor, bias: Tensor, frames: list[Tensor]) -> list[Tensor]:
    """sum_k weight[k] x[t - taps + 1 + k] + bias for weights (taps, C), zeros before the start."""
    taps, result = len(weight), []
    for t in range(len(frames)):
        y = bias
        for k in range(taps):
            if t - taps + 1 + k >= 0:
                y = y + weight[k] * frames[t - taps + 1 + k]
        result.append(y)
    return result


def short_convolution(layer: nn.Module, frames: list[Tensor]) -> list[Tensor]:
    """silu of the depthwise convolution."""
    return [silu(y) for y in depthwise(layer.weight, layer.bias, frames)]  # type: ignore[arg-type]


def rotate(x: Tensor, angle: Tensor) -> Tensor:
    """Turn the pairs (x[i], x[i + D/2]) of the last axis by angle[i]."""
    first, second = x.chunk(2, -1)
    cosine, sine = torch.cos(angle), torch.sin(angle)
    return torch.cat((first * cosine - second * sine, first * sine + second * cosine), -1)


def softmax(scores: Tensor) -> Tensor:
    """e^s / sum e^s over one axis (N,)."""
    weights = torch.exp(scores - scores.max())
    return weights / weights.sum()


def frequencies(width: int, base: float = 10000.0) -> Tensor:
    """Radians per frame of every pair of channels: base^(-2 i / width), (width / 2,) float64."""
    return torch.tensor([base ** (-2 * i / width) for i in range(width // 2)], dtype=torch.float64)


def gelu(x: Tensor) -> Tensor:
    """x Φ(x)."""
    return x * (1 + torch.erf(x / math.sqrt(2))) / 2
