"""LMUFormer as its equations say, with loops over time: slow, obvious, and the oracle of the tests.

It shares no arithmetic with the model: no convolution, no FFT, no step, no torch layer. All of it is
computed in float64 whatever the dtype of the model.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from millstream_models.lmuformer.model import CausalLMUFormer, LMUFormer

Weights = dict[str, Tensor]


def naive_forward(model: CausalLMUFormer | LMUFormer, x: Tensor) -> Tensor:
    """Mean logits up to each frame of one sequence: (T, inputs) -> (T, classes), float64."""
    weights = {name: t.detach().double() for name, t in (*model.named_parameters(), *model.named_buffers())}
    ahead = 1 if model.look_ahead else 0
    frames = [_normalize_input(weights, frame) for frame in x.double()]
    for layer in range(4):
        prefix = f"stem.layers.{layer}"
        frames = _convolve(weights[f"{prefix}.conv.weight"], frames, ahead)
        frames = [_norm(weights, f"{prefix}.norm", _relu(frame)) for frame in frames]
    branches = _convolve(weights["stem.residual.weight"], frames, ahead)
    frames = [frame + branch for frame, branch in zip(frames, branches, strict=True)]
    for block in range(model.config.blocks):
        frames = _block(weights, f"trunk.blocks.{block}", frames)
    return _prefix_means([_linear(weights, "trunk.head", frame) for frame in frames])


def _normalize_input(weights: Weights, frame: Tensor) -> Tensor:
    if "normalize.mean" not in weights:
        return frame
    return (frame - weights["normalize.mean"]) * weights["normalize.scale"]


def _convolve(weight: Tensor, frames: list[Tensor], ahead: int) -> list[Tensor]:
    """y[t] = sum_k W[:, k, :] x[t + ahead - (K - 1) + k], with x zero outside the sequence."""
    outputs, kernel, _ = weight.shape
    result = []
    for t in range(len(frames)):
        y = torch.zeros(outputs, dtype=torch.float64)
        for k in range(kernel):
            source = t + ahead - (kernel - 1) + k
            if 0 <= source < len(frames):
                y = y + weight[:, k, :] @ frames[source]
        result.append(y)
    return result


def _block(weights: Weights, prefix: str, frames: list[Tensor]) -> list[Tensor]:
    """m[t] = A m[t-1] + B u[t]; then the two residuals around token mixer and channel mixer."""
    transition = weights[f"{prefix}.token.memory.transition"]
    input_matrix = weights[f"{prefix}.token.memory.input_matrix"]
    memory = torch.zeros_like(input_matrix)
    result = []
    for x in frames:
        u = _relu(_linear(weights, f"{prefix}.token.drive", x))
        memory = transition @ memory + input_matrix * u
        h = _relu(_linear(weights, f"{prefix}.token.read", torch.cat((memory, x))))
        y = x + _norm(weights, f"{prefix}.project_norm", _linear(weights, f"{prefix}.project", h))
        result.append(y + _channel_mixer(weights, f"{prefix}.channel", y))
    return result


def _channel_mixer(weights: Weights, prefix: str, y: Tensor) -> Tensor:
    hidden = _gelu(_norm(weights, f"{prefix}.expand_norm", _linear(weights, f"{prefix}.expand", y)))
    return _relu(_norm(weights, f"{prefix}.contract_norm", _linear(weights, f"{prefix}.contract", hidden)))


def _linear(weights: Weights, prefix: str, x: Tensor) -> Tensor:
    return weights[f"{prefix}.weight"] @ x + weights[f"{prefix}.bias"]


def _norm(weights: Weights, prefix: str, x: Tensor) -> Tensor:
    """Batch normalisation by its running statistics; 1e-5 is the epsilon that it was trained with."""
    centred = x - weights[f"{prefix}.running_mean"]
    spread = torch.sqrt(weights[f"{prefix}.running_var"] + 1e-5)
    return centred / spread * weights[f"{prefix}.weight"] + weights[f"{prefix}.bias"]


def _relu(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, 0.0)


def _gelu(x: Tensor) -> Tensor:
    return x * (1 + torch.erf(x / math.sqrt(2))) / 2


def _prefix_means(values: list[Tensor]) -> Tensor:
    means, total = [], torch.zeros_like(values[0])
    for count, value in enumerate(values, start=1):
        total = total + value
        means.append(total / count)
    return torch.stack(means)
