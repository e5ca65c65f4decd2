"""S4D as its equations say: the oracle of the tests. Real arithmetic, on a 2 x 2 rotation per pair."""

from __future__ import annotations

import cmath

import torch
from torch import Tensor

from millstream_models.core.naive import gelu, linear, sigmoid
from millstream_models.s4d.model import S4D, bilinear


def naive(mixer: S4D, x: Tensor) -> Tensor:
    """(T, width) -> (T, width), channel by channel in Python's complex numbers."""
    columns = torch.stack([_channel(mixer, c, x[:, c]) for c in range(x.shape[1])], 1)
    outputs = []
    for y in columns:
        value, gate = linear(mixer.out, gelu(y)).chunk(2)
        outputs.append(value * sigmoid(gate))
    return torch.stack(outputs)


def _channel(mixer: S4D, channel: int, signal: Tensor) -> Tensor:
    step = float(torch.exp(mixer.log_step[channel]))
    skip = float(mixer.skip[channel])
    modes = []
    for n in range(mixer.frequency.shape[1]):
        a = complex(-float(torch.exp(mixer.log_damping[channel, n])), float(mixer.frequency[channel, n]))
        c = complex(*mixer.read[channel, n].tolist())
        if mixer.discretize is bilinear:
            modes.append([(1 + step * a / 2) / (1 - step * a / 2), c * step / (1 - step * a / 2), 0j])
        else:
            modes.append([cmath.exp(step * a), c * (cmath.exp(step * a) - 1) / a, 0j])
    result = []
    for u in signal.tolist():
        for mode in modes:
            mode[2] = mode[0] * mode[2] + u
        result.append(2 * sum((c * state).real for _, c, state in modes) + skip * u)
    return torch.tensor(result, dtype=signal.dtype)
