"""The neural memory by automatic differentiation of its loss: the oracle of the tests."""

from __future__ import annotations

import torch
from torch import Tensor

from millstream_models.core.naive import linear, rms_norm, sigmoid, unit
from millstream_models.titans.model import NeuralMemory


def naive(mixer: NeuralMemory, x: Tensor) -> Tensor:
    """(T, width) -> (T, width)."""
    heads = mixer.heads
    width = x.shape[1] // heads
    zeros = [torch.zeros(width, width, dtype=x.dtype) for _ in range(heads)]
    memories, momenta, starts = list(zeros), list(zeros), list(zeros)
    outputs = []
    for t, frame in enumerate(x):
        keep, rate, forget = sigmoid(linear(mixer.gates, frame)).chunk(3)
        q, k, v = (linear(layer, frame).chunk(heads) for layer in (mixer.q, mixer.k, mixer.v))
        read = []
        for head in range(heads):
            if t % mixer.chunk == 0:
                starts[head] = memories[head]
            gradient = _gradient(starts[head], unit(k[head]), v[head])
            momenta[head] = keep[head] * momenta[head] - rate[head] * gradient
            memories[head] = (1 - forget[head]) * memories[head] + momenta[head]
            read.append(rms_norm(mixer.norm, memories[head].T @ unit(q[head])))
        outputs.append(linear(mixer.out, torch.cat(read)))
    return torch.stack(outputs)


def _gradient(memory: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Of |Mᵀ k - v|² in M (K, V)."""
    with torch.enable_grad():
        variable = memory.detach().clone().requires_grad_(True)
        loss = ((variable.T @ key.detach() - value.detach()) ** 2).sum()
        return torch.autograd.grad(loss, variable)[0]
