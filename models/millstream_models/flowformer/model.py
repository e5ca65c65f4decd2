"""Flowformer, causal: linear attention with competition among sources and allocation to sinks.

Source: Wu et al., "Flowformer: Linearizing Transformers with Conservation Flows" (ICML 2022).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from millstream_models.core.forms import Form
from millstream_models.core.parts.heads import join, split
from millstream_models.core.shell import Mixer, State, StreamModel, small

EPSILON = 1e-6


class FlowAttention(Mixer):
    """Flows into and out of every frame are conserved, over the frames so far.

    With running sums over frames: incoming i = n / q · Σk and outgoing o = n / k · Σq; then those of the
    conserved flows, Ĩ = q · Σ(k o) / n and Õ = k · Σ(q i) / n. A frame's value competes with e^Õ / Σ e^Õ
    at its own time; the read is allocated by sigmoid(Ĩ).
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.out = (nn.Linear(width, width, bias=False) for _ in range(4))

    def mix(self, x: Tensor, state: State, form: Form) -> tuple[Tensor, State]:
        q, k = (torch.sigmoid(split(layer(x), self.heads)) for layer in (self.q, self.k))
        v = split(self.v(x), self.heads)
        after: State = {}
        n, after["count"] = form.total(torch.ones_like(x[..., :1]).double(), state["count"])
        n = n.to(x.dtype).unsqueeze(-1)
        keys, after["keys"] = form.total(k, state["keys"])
        queries, after["queries"] = form.total(q, state["queries"])
        incoming = n / _flow(q, keys)
        outgoing = n / _flow(k, queries)
        kept_keys, after["kept_keys"] = form.total(k * outgoing, state["kept_keys"])
        kept_queries, after["kept_queries"] = form.total(q * incoming, state["kept_queries"])
        allocation = torch.sigmoid(_flow(q, kept_keys) / n)
        strength = torch.exp(torch.clamp(_flow(k, kept_queries) / n, -1, 1))
        strengths, after["strengths"] = form.total(strength, state["strengths"])
        v = v * (n * strength / strengths)
        one = torch.ones_like(strength)
        o, after["memory"] = form.recur(q * incoming / n, k, v, one, state["memory"])
        return self.out(join(allocation * o)), after

    def initial_state(self, batch: int) -> State:
        width = self.q.out_features // self.heads
        vector = self.q.weight.new_zeros(batch, self.heads, width)
        vectors = {name: vector.clone() for name in ("keys", "queries", "kept_keys", "kept_queries")}
        return {
            "count": vector.new_zeros(batch, 1, dtype=torch.float64),
            **vectors,
            "strengths": vector.new_zeros(batch, self.heads, 1),
            "memory": vector.new_zeros(batch, self.heads, width, width),
        }


def _flow(a: Tensor, b: Tensor) -> Tensor:
    """a · b with a little added to both, (..., H, 1)."""
    return ((a + EPSILON) * (b + EPSILON)).sum(-1, keepdim=True)


def flowformer() -> StreamModel:
    """The small configuration of the catalogue."""
    return small(lambda _: FlowAttention(32, heads=2))
