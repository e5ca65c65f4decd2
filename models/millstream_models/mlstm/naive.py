"""mLSTM as its equations say, without stabiliser: the oracle of the tests."""

from __future__ import annotations

import torch
from torch import Tensor

from millstream_models.core.naive import layer_norm, linear, short_convolution, sigmoid, silu
from millstream_models.mlstm.model import MLSTM, BlockDiagonal


def naive(mixer: MLSTM, x: Tensor) -> Tensor:
    """(T, width) -> (T, width); the small ε of the denominator is scaled like the stabilised one."""
    inner, heads = mixer.out.in_features, mixer.heads
    width = inner // heads
    projected = [linear(mixer.inlet, frame) for frame in x]
    convolved = short_convolution(mixer.convolution, [p[:inner] for p in projected])
    memories = [torch.zeros(width, width, dtype=x.dtype) for _ in range(heads)]
    normalizers = [torch.zeros(width, dtype=x.dtype) for _ in range(heads)]
    maxima = [torch.zeros((), dtype=x.dtype) for _ in range(heads)]
    outputs = []
    for p, u in zip(projected, convolved, strict=True):
        q, k, v = _grouped(mixer.q, u), _grouped(mixer.k, u), _grouped(mixer.v, p[:inner])
        gates = torch.cat((q, k, v))
        writes, forgets = linear(mixer.write, gates), sigmoid(linear(mixer.forget, gates))
        read = []
        for head in range(heads):
            query, key, value = (y.chunk(heads)[head] for y in (q, k / width**0.5, v))
            forget, write = forgets[head], torch.exp(writes[head])
            memories[head] = forget * memories[head] + write * torch.outer(key, value)
            normalizers[head] = forget * normalizers[head] + write * key
            maxima[head] = torch.maximum(torch.log(forget) + maxima[head], writes[head])
            size = torch.clamp((normalizers[head] @ query).abs(), min=1)
            read.append(memories[head].T @ query / (size + 1e-6 * torch.exp(maxima[head])))
        y = layer_norm(mixer.norm, torch.stack(read)).flatten() + mixer.skip * u
        outputs.append(linear(mixer.out, y * silu(p[inner:])))
    return torch.stack(outputs)


def _grouped(layer: BlockDiagonal, x: Tensor) -> Tensor:
    groups = x.reshape(layer.weight.shape[0], -1)
    return torch.cat([weight @ group for weight, group in zip(layer.weight, groups, strict=True)])
