"""SLAB's simplified linear attention, made causal.

Source: Guo et al., "SLAB: Efficient Transformers with Simplified Linear Attention and Progressive
Re-parameterized Batch Normalization" (ICML 2024).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from millstream_models.core.forms import Form
from millstream_models.core.parts.heads import join, split
from millstream_models.core.parts.normalizer import initial_memory, normalized_recurrence
from millstream_models.core.parts.rotary import positions
from millstream_models.core.shell import Mixer, State, StreamModel, small


class SimplifiedLinearAttention(Mixer):
    """S += relu(k + P) vᵀ, normalised, plus a causal depthwise convolution of v.

    The learned position P has one row for each of the first frames; later frames have the last row. Where
    the published convolution looks at neighbours on both sides, this one looks back only.
    """

    def __init__(self, width: int, heads: int, length: int, taps: int = 5) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v = (nn.Linear(width, width, bias=False) for _ in range(3))
        self.out = nn.Linear(width, width)
        self.position = nn.Parameter(torch.zeros(length, width))
        self.local = nn.Parameter(torch.randn(taps, width) * taps**-0.5)
        self.local_bias = nn.Parameter(torch.zeros(width))

    def mix(self, x: Tensor, state: State, form: Form) -> tuple[Tensor, State]:
        number, count = positions(x, state["count"], form)
        row = self.position[number.squeeze(-1).clamp(max=self.position.shape[0] - 1)]
        flat = self.v(x)
        q, k, v = (split(y, self.heads) for y in (torch.relu(self.q(x)), torch.relu(self.k(x) + row), flat))
        o, memory = normalized_recurrence(form, q, k, v, torch.ones_like(k[..., :1]), state["memory"])
        local, ring = form.convolve(flat, self.local, self.local_bias, state["ring"])
        return self.out(join(o) + local), {"count": count, "memory": memory, "ring": ring}

    def initial_state(self, batch: int) -> State:
        width = self.q.out_features // self.heads
        memory = initial_memory(self.q.weight, batch, self.heads, width, width)
        return {
            "count": memory.new_zeros(batch, 1, dtype=torch.int64),
            "memory": memory,
            "ring": memory.new_zeros(batch, self.local.shape[0] - 1, self.local.shape[1]),
        }


def slab() -> StreamModel:
    """The small configuration of the catalogue."""
    return small(lambda _: SimplifiedLinearAttention(32, heads=2, length=16))
