"""MALA: linear attention whose weights keep the size of the query, normalised by addition.

Source: Fan, Huang and He, "Rectifying Magnitude Neglect in Linear Attention" (ICCV 2025), made causal: sums
over the frames so far in place of sums over the image.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from millstream_models.core.forms import Form
from millstream_models.core.parts.heads import join, split
from millstream_models.core.parts.rotary import angles, frequencies, positions, rotate
from millstream_models.core.shell import Mixer, State, StreamModel, small


class MagnitudeAwareAttention(Mixer):
    """Weight of frame j at frame i: (1 + 1 / Z) (s / n) q · k - Z / n, with Z = (s / n) φ(q) · Σ φ(k).

    φ = elu + 1, s = 1 / sqrt(K), n the number of frames so far; q and k are φ turned by their position, Z is
    made of φ unturned. A local depthwise convolution of the values is added, and a linear gate multiplies.
    """

    frequency: Tensor

    def __init__(self, width: int, heads: int, taps: int = 5) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.gate, self.out = (nn.Linear(width, width) for _ in range(5))
        self.local = nn.Parameter(torch.randn(taps, width) * taps**-0.5)
        self.local_bias = nn.Parameter(torch.zeros(width))
        self.register_buffer("frequency", frequencies(width // heads), persistent=False)

    def mix(self, x: Tensor, state: State, form: Form) -> tuple[Tensor, State]:
        position, count = positions(x, state["count"], form)
        angle = angles(position, self.frequency, x.dtype).unsqueeze(-2)
        n = (position + 1).to(x.dtype).unsqueeze(-1)
        flat = self.v(x)
        q, k, v = (split(y, self.heads) for y in (self.q(x), self.k(x), flat))
        q, k = functional.elu(q) + 1, functional.elu(k) + 1
        share = q.shape[-1] ** -0.5 / n
        keys, key_sum = form.total(k, state["key_sum"])
        values, value_sum = form.total(v, state["value_sum"])
        z = share * (q * keys).sum(-1, keepdim=True)
        one = torch.ones_like(z)
        o, memory = form.recur(rotate(q, angle), rotate(k, angle), v, one, state["memory"])
        o = (1 + 1 / z) * share * o - z * values / n
        local, ring = form.convolve(flat, self.local, self.local_bias, state["ring"])
        after = {"count": count, "key_sum": key_sum, "value_sum": value_sum, "memory": memory, "ring": ring}
        return self.out((join(o) + local) * self.gate(x)), after

    def initial_state(self, batch: int) -> State:
        width = self.q.out_features // self.heads
        vector = self.q.weight.new_zeros(batch, self.heads, width)
        return {
            "count": vector.new_zeros(batch, 1, dtype=torch.int64),
            "key_sum": vector,
            "value_sum": vector.clone(),
            "memory": vector.new_zeros(batch, self.heads, width, width),
            "ring": vector.new_zeros(batch, self.local.shape[0] - 1, self.local.shape[1]),
        }


def mala() -> StreamModel:
    """The small configuration of the catalogue."""
    return small(lambda _: MagnitudeAwareAttention(32, heads=2))
