"""Continuous integrate-and-fire as its rule says: the oracle of the tests."""

from __future__ import annotations

import torch
from torch import Tensor

from millstream_models.cif.model import IntegrateAndFire
from millstream_models.core.naive import linear, sigmoid


def naive(mixer: IntegrateAndFire, x: Tensor) -> Tensor:
    """(T, width) -> (T, width)."""
    silence = torch.zeros_like(x[0])
    total, token, outputs = torch.zeros(1, dtype=x.dtype), silence, []
    for t, frame in enumerate(x):
        window = torch.cat([x[j] if j >= 0 else silence for j in range(t - mixer.taps + 1, t + 1)])
        share = sigmoid(linear(mixer.weight, torch.clamp(linear(mixer.look, window), min=0)))
        if total + share >= 1:
            missing = 1 - total
            outputs.append(torch.cat((torch.ones(1, dtype=x.dtype), token + missing * frame)))
            total, token = share - missing, (share - missing) * frame
        else:
            outputs.append(torch.zeros(1 + len(frame), dtype=x.dtype))
            total, token = total + share, token + share * frame
    return torch.stack([linear(mixer.out, fired) for fired in outputs])
