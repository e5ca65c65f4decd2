"""Linear attention with the feature map elu + 1, and the normaliser that makes its weights sum to one.

Source: Katharopoulos et al., "Transformers are RNNs" (ICML 2020).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from millstream_models.core.forms import Form
from millstream_models.core.parts.heads import join, split
from millstream_models.core.parts.normalizer import initial_memory, normalized_recurrence
from millstream_models.core.shell import Mixer, State, StreamModel, small


class LinearAttention(Mixer):
    """S += φ(k) vᵀ, z += φ(k), o = Sᵀ φ(q) / (z · φ(q) + 1e-6)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.out = (nn.Linear(width, width, bias=False) for _ in range(4))

    def mix(self, x: Tensor, state: State, form: Form) -> tuple[Tensor, State]:
        q, k, v = (split(layer(x), self.heads) for layer in (self.q, self.k, self.v))
        q, k = functional.elu(q) + 1, functional.elu(k) + 1
        o, memory = normalized_recurrence(form, q, k, v, torch.ones_like(k[..., :1]), state["memory"])
        return self.out(join(o)), {"memory": memory}

    def initial_state(self, batch: int) -> State:
        width = self.q.out_features // self.heads
        return {"memory": initial_memory(self.q.weight, batch, self.heads, width, width)}


def linear_transformer() -> StreamModel:
    """The small configuration of the catalogue."""
    return small(lambda _: LinearAttention(32, heads=2))
