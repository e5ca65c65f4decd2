"""Spiking LMUFormer as its equations say, frame by frame and neuron by neuron: the oracle of the tests."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from millstream_models.core.naive import linear
from millstream_models.spiking_lmuformer.model import STEM, TAPS, SpikingLMUFormer


def naive(model: SpikingLMUFormer, x: Tensor) -> Tensor:
    """(T, inputs) -> (T, classes): mean logits up to each frame."""
    membranes = {name: torch.zeros(size, dtype=x.dtype) for name, size in model.sizes.items()}

    def spike(name: str, current: Tensor) -> Tensor:
        threshold = 0.5 if name == "input" else 1.0
        charged = (membranes[name] + _norm(model.norms[name], current)) / 2
        membranes[name] = torch.where(charged >= threshold, 0.0, charged)
        return torch.where(charged >= threshold, 1.0, 0.0).to(x.dtype)

    pasts = [[torch.zeros(layer.in_features // TAPS, dtype=x.dtype)] * (TAPS - 1) for layer in _layers(model)]

    def convolve(number: int, frame: Tensor) -> Tensor:
        window = [*pasts[number], frame]
        pasts[number] = window[1:]
        return linear(_layers(model)[number], torch.cat(window))

    memory = torch.zeros_like(model.memory.input_matrix)
    total, outputs = torch.zeros(model.head.out_features, dtype=x.dtype), []
    for count, frame in enumerate(x, start=1):
        c = convolve(0, (frame - model.normalize.mean) * model.normalize.scale)
        for i in range(1, STEM):
            c = convolve(i, spike(f"stem_{i - 1}", c))
        c = c + convolve(STEM, spike(f"stem_{STEM - 1}", c))
        a = spike("input", c)
        memory = model.memory.transition @ memory + model.memory.input_matrix * spike(
            "drive", linear(model.drive, a)
        )
        h = spike("read", linear(model.read, torch.cat((spike("memory", memory), a))))
        y = c + _norm(model.project_norm, linear(model.project, h))
        y = y + linear(model.contract, spike("hidden", linear(model.expand, spike("channel", y))))
        total = total + linear(model.head, spike("head", y))
        outputs.append(total / count)
    return torch.stack(outputs)


def _layers(model: SpikingLMUFormer) -> list[nn.Linear]:
    return [*model.convolutions, model.residual]


def _norm(norm: nn.Module, x: Tensor) -> Tensor:
    centred = x - norm.running_mean  # type: ignore[operator]
    return centred / torch.sqrt(norm.running_var + norm.eps) * norm.weight + norm.bias  # type: ignore[operator]
