"""Hedgehog: linear attention whose learned feature map imitates the spiky weights of softmax.

Source: Zhang et al., "The Hedgehog & the Porcupine" (ICLR 2024). Three maps that differ go by this name;
see the README.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from millstream_models.core.forms import Form
from millstream_models.core.parts.heads import join, split
from millstream_models.core.parts.normalizer import initial_memory, normalized_recurrence
from millstream_models.core.shell import Mixer, State, StreamModel, small


def exponential_map(y: Tensor) -> Tensor:
    """[e^(y - max y); e^(-y + min y)]: the paper's map, each half scaled to a largest value of 1."""
    return torch.cat((torch.exp(y - y.amax(-1, keepdim=True)), torch.exp(y.amin(-1, keepdim=True) - y)), -1)


def two_softmax_map(y: Tensor) -> Tensor:
    """[softmax(y); softmax(-y)], at least 1e-12, as LoLCATs uses it."""
    return torch.cat((torch.softmax(y, -1), torch.softmax(-y, -1)), -1).clamp(min=1e-12)


def joint_softmax_map(y: Tensor) -> Tensor:
    """softmax([2 y; -2 y]), as flash-linear-attention uses it."""
    return torch.softmax(torch.cat((2 * y, -2 * y), -1), -1)


class HedgehogAttention(Mixer):
    """Linear attention with φ(W q) and φ(W k), W per head and the identity at first, φ twice as wide."""

    def __init__(self, width: int, heads: int, feature_map: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.heads = heads
        self.feature_map = feature_map
        self.q, self.k, self.v, self.out = (nn.Linear(width, width, bias=False) for _ in range(4))
        identity = torch.eye(width // heads).repeat(heads, 1, 1)
        self.query_map, self.key_map = nn.Parameter(identity), nn.Parameter(identity.clone())

    def mix(self, x: Tensor, state: State, form: Form) -> tuple[Tensor, State]:
        q, k, v = (split(layer(x), self.heads) for layer in (self.q, self.k, self.v))
        q, k = self._features(q, self.query_map), self._features(k, self.key_map)
        o, memory = normalized_recurrence(form, q, k, v, torch.ones_like(k[..., :1]), state["memory"])
        return self.out(join(o)), {"memory": memory}

    def _features(self, x: Tensor, weight: Tensor) -> Tensor:
        return self.feature_map(torch.matmul(weight, x.unsqueeze(-1)).squeeze(-1))

    def initial_state(self, batch: int) -> State:
        width = self.q.out_features // self.heads
        return {"memory": initial_memory(self.q.weight, batch, self.heads, width, 2 * width)}


def hedgehog() -> StreamModel:
    """The small configuration of the catalogue, with the paper's map."""
    return small(lambda _: HedgehogAttention(32, 2, exponential_map))


def hedgehog_two_softmax() -> StreamModel:
    """The same with LoLCATs' map."""
    return small(lambda _: HedgehogAttention(32, 2, two_softmax_map))


def hedgehog_joint_softmax() -> StreamModel:
    """The same with flash-linear-attention's map."""
    return small(lambda _: HedgehogAttention(32, 2, joint_softmax_map))
