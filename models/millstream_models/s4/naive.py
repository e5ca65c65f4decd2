"""S4 as its equations say: the oracle of the tests. Dense complex matrices, every mode with its conjugate."""

from __future__ import annotations

import torch
from torch import Tensor

from millstream_models.core.naive import gelu, linear, sigmoid
from millstream_models.s4.model import S4


def naive(mixer: S4, x: Tensor) -> Tensor:
    """(T, width) -> (T, width)."""
    columns = torch.stack([_channel(mixer, c, x[:, c]) for c in range(x.shape[1])], 1)
    outputs = []
    for y in columns:
        value, gate = linear(mixer.out, gelu(y)).chunk(2)
        outputs.append(value * sigmoid(gate))
    return torch.stack(outputs)


def _channel(mixer: S4, channel: int, signal: Tensor) -> Tensor:
    a, b, one = continuous(mixer), _both(torch.view_as_complex(mixer.drive)), torch.eye(2 * len(mixer.factor))
    c, half = _both(torch.view_as_complex(mixer.read[channel])), torch.exp(mixer.log_step[channel]) / 2
    before = torch.linalg.inv(one - half * a)
    transition, drive = before @ (one + half * a), before @ (2 * half * b)
    state, result = torch.zeros_like(b), []
    for u in signal:
        state = transition @ state + drive * u
        result.append((c * state).sum().real + mixer.skip[channel] * u)
    return torch.stack(result)


def continuous(mixer: S4) -> Tensor:
    """A = Λ - P Pᵀ, complex and dense."""
    diagonal = _both(torch.complex(-torch.exp(mixer.log_damping), mixer.frequency))
    factor = torch.cat((mixer.factor, mixer.factor))
    return torch.diag(diagonal) - torch.outer(factor, factor)


def _both(half: Tensor) -> Tensor:
    return torch.cat((half, half.conj()))
