"""Agent attention as its two softmaxes say: the oracle of the tests."""

from __future__ import annotations

import torch
from torch import Tensor

from millstream_models.agent_attention.model import AgentAttention
from millstream_models.core.naive import depthwise, linear, softmax


def naive(mixer: AgentAttention, x: Tensor) -> Tensor:
    """(T, width) -> (T, width)."""
    heads = mixer.heads
    q, k, v = ([linear(layer, frame) for frame in x] for layer in (mixer.q, mixer.k, mixer.v))
    local = depthwise(mixer.local, mixer.local_bias, v)
    outputs = []
    for t in range(len(x)):
        read = []
        for head in range(heads):
            agents, scale = mixer.agents[head], mixer.agents.shape[2] ** -0.5
            held = []
            for agent, bias in zip(agents, mixer.collect_bias[head], strict=True):
                scores = [agent @ key.chunk(heads)[head] * scale + bias for key in k[: t + 1]]
                weights = softmax(torch.stack(scores))
                held.append(sum(w * y.chunk(heads)[head] for w, y in zip(weights, v, strict=False)))
            spread = softmax(agents @ q[t].chunk(heads)[head] * scale + mixer.spread_bias[head])
            read.append(sum(w * y for w, y in zip(spread, held, strict=True)))
        outputs.append(linear(mixer.out, torch.cat(read) + local[t]))
    return torch.stack(outputs)
