"""The real-gated recurrence as its equations say: the oracle of the tests."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from millstream_models.core.naive import depthwise, linear, sigmoid, softplus
from millstream_models.griffin.model import RealGatedRecurrence


def naive(mixer: RealGatedRecurrence, x: Tensor) -> Tensor:
    """(T, width) -> (T, width)."""
    inner = depthwise(mixer.taps, mixer.taps_bias, [linear(mixer.x, frame) for frame in x])
    hidden, outputs = torch.zeros_like(x[0]), []
    for t, frame in enumerate(x):
        u = inner[t]
        write, fade = (
            torch.cat([sigmoid(w[h] @ u.chunk(mixer.heads)[h] + b[h]) for h in range(mixer.heads)])
            for w, b in zip(mixer.gates, mixer.gates_bias, strict=True)
        )
        decay = torch.exp(-8 * fade * softplus(mixer.decay))
        size = torch.sqrt(1 - decay**2) if t else 1.0
        hidden = decay * hidden + size * write * u
        outputs.append(linear(mixer.out, hidden * _gelu(linear(mixer.y, frame))))
    return torch.stack(outputs)


def _gelu(x: Tensor) -> Tensor:
    """The approximation by a hyperbolic tangent that the model was published with."""
    return x / 2 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
