"""A GTrXL block as its equations say: the oracle of the tests."""

from __future__ import annotations

import torch
from torch import Tensor

from millstream_models.core.naive import frequencies, linear, rms_norm, sigmoid, softmax
from millstream_models.gtrxl.model import GatedResidual, GTrXLBlock


def naive(block: GTrXLBlock, x: Tensor) -> Tensor:
    """(T, width) -> (T, width)."""
    heads, scale = block.heads, block.content_bias.shape[1] ** -0.5
    turn = frequencies(x.shape[1])
    normed = [rms_norm(block.norms[0], frame) for frame in x]
    q, k, v = ([linear(f, frame).chunk(heads) for frame in normed] for f in (block.q, block.k, block.v))
    outputs = []
    for t, frame in enumerate(x):
        read, seen = [], range(max(0, t - block.window + 1), t + 1)
        for head in range(heads):
            scores = []
            for j in seen:
                wave = torch.cat((torch.sin((t - j) * turn), torch.cos((t - j) * turn)))
                place = linear(block.relative, wave).chunk(heads)[head]
                content = (q[t][head] + block.content_bias[head]) @ k[j][head]
                scores.append((content + (q[t][head] + block.place_bias[head]) @ place) * scale)
            weights = softmax(torch.stack(scores))
            read.append(sum(w * v[j][head] for w, j in zip(weights, seen, strict=True)))
        attended = torch.clamp(linear(block.out, torch.cat(read)), min=0)
        y = _gate(block.gates[0], frame, attended)
        hidden = torch.clamp(linear(block.feed_forward[0], rms_norm(block.norms[1], y)), min=0)
        outputs.append(_gate(block.gates[1], y, torch.clamp(linear(block.feed_forward[2], hidden), min=0)))
    return torch.stack(outputs)


def _gate(gate: GatedResidual, x: Tensor, y: Tensor) -> Tensor:
    from_output, from_stream = linear(gate.of_output, y).chunk(3), linear(gate.of_stream, x).chunk(2)
    reset = sigmoid(from_output[0] + from_stream[0])
    update = sigmoid(from_output[1] + from_stream[1] - gate.bias)
    new = torch.tanh(from_output[2] + linear(gate.of_reset, reset * x))
    return (1 - update) * x + update * new
