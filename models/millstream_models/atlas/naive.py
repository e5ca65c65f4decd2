"""The window memory by automatic differentiation of its loss: the oracle of the tests."""

from __future__ import annotations

import torch
from torch import Tensor

from millstream_models.atlas.model import WindowMemory
from millstream_models.core.naive import linear, rms_norm, sigmoid, unit


def naive(mixer: WindowMemory, x: Tensor) -> Tensor:
    """(T, width) -> (T, width)."""
    heads = mixer.heads
    width = x.shape[1] // heads
    features = width + width * (width + 1) // 2
    memories = [torch.zeros(features, width, dtype=x.dtype) for _ in range(heads)]
    momenta = list(memories)
    gates = [sigmoid(linear(mixer.gates, frame)).chunk(4) for frame in x]
    q, k, v = ([linear(layer, frame).chunk(heads) for frame in x] for layer in (mixer.q, mixer.k, mixer.v))
    outputs = []
    for t in range(len(x)):
        keep, rate, forget, _ = gates[t]
        read = []
        for head in range(heads):
            seen = range(max(0, t - mixer.window + 1), t + 1)
            pairs = [(_features(unit(k[j][head])), v[j][head], gates[j][3][head]) for j in seen]
            momenta[head] = keep[head] * momenta[head] + _gradient(memories[head], pairs)
            memories[head] = forget[head] * memories[head] - rate[head] * _newton_schulz(momenta[head])
            read.append(rms_norm(mixer.norm, memories[head].T @ _features(unit(q[t][head]))))
        outputs.append(linear(mixer.out, torch.cat(read)))
    return torch.stack(outputs)


def _features(x: Tensor) -> Tensor:
    products = [x[i] * x[j] for i in range(len(x)) for j in range(i, len(x))]
    return torch.cat((x, torch.stack(products)))


def _gradient(memory: Tensor, pairs: list[tuple[Tensor, Tensor, Tensor]]) -> Tensor:
    with torch.enable_grad():
        variable = memory.detach().clone().requires_grad_(True)
        losses = [w.detach() * ((variable.T @ k.detach() - v.detach()) ** 2).sum() for k, v, w in pairs]
        return torch.autograd.grad(torch.stack(losses).sum(), variable)[0]


def _newton_schulz(matrix: Tensor) -> Tensor:
    x = matrix / torch.sqrt((matrix**2).sum() + 1e-12)
    for _ in range(5):
        x = 3.4445 * x - 4.7750 * (x @ x.T @ x) + 2.0315 * (x @ x.T @ x @ x.T @ x)
    return x
