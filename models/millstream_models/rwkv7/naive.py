"""RWKV-7 as its equations say: the oracle of the tests."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from millstream_models.core.naive import layer_norm, linear, rms_norm, sigmoid
from millstream_models.rwkv7.model import RWKV7, ChannelMix, LowRank, TimeMix


def naive(mixer: RWKV7, x: Tensor) -> Tensor:
    """(T, width) -> (T, width), layer after layer."""
    first: list[Tensor] = []
    for i, (time, channel) in enumerate(zip(mixer.times, mixer.channels, strict=True)):
        x = x + _time_mix(time, rms_norm(mixer.time_norms[i], x), first)
        x = x + _channel_mix(channel, rms_norm(mixer.channel_norms[i], x))
    return x


def _time_mix(time: TimeMix, x: Tensor, first: list[Tensor]) -> Tensor:
    heads = time.heads
    width = x.shape[1] // heads
    states = [torch.zeros(width, width, dtype=x.dtype) for _ in range(heads)]
    before, outputs, is_first = torch.zeros_like(x[0]), [], not first
    for t, frame in enumerate(x):
        r, w, k, v, a, g = (frame + mu * (before - frame) for mu in time.shift)
        decay = torch.exp(-math.exp(-0.5) * sigmoid(_low_rank(time.decay, w)))
        learning = sigmoid(_low_rank(time.learning, a))
        gate = linear(time.gate.up, sigmoid(linear(time.gate.down, g)))
        value, key, receptance = linear(time.v, v), linear(time.k, k), linear(time.r, r)
        if is_first:
            first.append(value)
        elif time.mix_first is not None:
            share = sigmoid(linear(time.mix_first.up, linear(time.mix_first.down, v)))
            value = value + (first[t] - value) * share
        erased, written = key * time.erase_scale, key * (1 + (learning - 1) * time.write_scale)
        read = []
        for head in range(heads):
            own = [y.chunk(heads)[head] for y in (decay, learning, erased, written, value, receptance)]
            decay_h, learning_h, kappa, key_h, value_h, query = own
            kappa = kappa / torch.sqrt((kappa * kappa).sum())
            transition = torch.diag(decay_h) - torch.outer(kappa * learning_h, kappa)
            states[head] = transition @ states[head] + torch.outer(key_h, value_h)
            read.append((states[head].T @ query, (query * key_h * time.bonus[head]).sum() * value_h))
        normed = layer_norm(time.norm, torch.stack([o for o, _ in read]))
        o = normed + torch.stack([bonus for _, bonus in read])
        outputs.append(linear(time.out, o.flatten() * gate))
        before = frame
    return torch.stack(outputs)


def _low_rank(layer: LowRank, x: Tensor) -> Tensor:
    hidden = linear(layer.down, x)
    return linear(layer.up, torch.tanh(hidden) if isinstance(layer.activation, torch.nn.Tanh) else hidden)


def _channel_mix(channel: ChannelMix, x: Tensor) -> Tensor:
    before, outputs = torch.zeros_like(x[0]), []
    for frame in x:
        hidden = torch.clamp(linear(channel.up, frame + channel.shift * (before - frame)), min=0)
        outputs.append(linear(channel.down, hidden**2))
        before = frame
    return torch.stack(outputs)
