"""The delta family as its equations say: the oracle of the tests."""

from __future__ import annotations

import torch
from torch import Tensor

from millstream_models.core.naive import linear, rms_norm, short_convolution, sigmoid, silu, softplus, unit
from millstream_models.deltanet.model import DeltaNet


def naive(mixer: DeltaNet, x: Tensor) -> Tensor:
    """(T, width) -> (T, width)."""
    heads, micro, width = mixer.heads, mixer.micro_steps, x.shape[1] // mixer.heads
    q = short_convolution(mixer.q_convolution, [linear(mixer.q, frame) for frame in x])
    k = short_convolution(mixer.k_convolution, [linear(mixer.k, frame) for frame in x])
    v = short_convolution(mixer.v_convolution, [linear(mixer.v, frame) for frame in x])
    states = [torch.zeros(width, width, dtype=x.dtype) for _ in range(heads)]
    identity, outputs = torch.eye(width, dtype=x.dtype), []
    for t, frame in enumerate(x):
        strength = mixer.largest_strength * sigmoid(linear(mixer.strength, frame))
        read = []
        for head in range(heads):
            state = states[head] * _decay(mixer, frame, head)
            for j in range(micro):
                place = j * heads + head
                key, value = unit(k[t].chunk(micro * heads)[place]), v[t].chunk(micro * heads)[place]
                householder = identity - strength[place] * torch.outer(key, key)
                state = householder @ state + strength[place] * torch.outer(key, value)
            states[head] = state
            query = unit(q[t].chunk(heads)[head]) / width**0.5
            read.append(rms_norm(mixer.norm, state.T @ query))
        o = torch.cat(read)
        if mixer.gates is not None:
            o = o * silu(linear(mixer.gates.gate, frame))
        outputs.append(linear(mixer.out, o))
    return torch.stack(outputs)


def _decay(mixer: DeltaNet, frame: Tensor, head: int) -> Tensor | float:
    if mixer.gates is None:
        return 1.0
    amount = softplus(linear(mixer.gates.amount, frame)[head] + mixer.gates.bias[head])
    return torch.exp(-torch.exp(mixer.gates.a_log[head]) * amount)
