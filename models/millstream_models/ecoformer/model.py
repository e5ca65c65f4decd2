"""EcoFormer: attention on binary codes of queries and keys, so that scores are counts of agreeing bits.

Source: Liu et al., "EcoFormer: Energy-Saving Attention with Linear Complexity" (NeurIPS 2022), with the
width of its kernel frozen: the published one is measured on the whole input.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from millstream_models.core.forms import Form
from millstream_models.core.parts.heads import join, split
from millstream_models.core.parts.normalizer import initial_memory, normalized_recurrence
from millstream_models.core.shell import Mixer, State, StreamModel, small


class BinaryAttention(Mixer):
    """Weight of frame j: b + H(q) · H(k), codes of b bits, each 1 or -1: H(x) = sign(A (κ(x) - μ)).

    κ compares x with anchors by a Gaussian kernel. The offset b is one more key channel: 1 in the key and b
    in the query. Gradients pass the sign by where its operand is within 1.
    """

    kernel_width: Tensor

    def __init__(self, width: int, heads: int, bits: int = 16, anchors: int = 25) -> None:
        super().__init__()
        self.heads, self.bits = heads, bits
        self.q, self.v, self.out = (nn.Linear(width, width, bias=False) for _ in range(3))
        head = width // heads
        self.anchors = nn.Parameter(torch.randn(heads, anchors, head))
        self.hash = nn.Parameter(torch.randn(heads, bits, anchors))
        self.mean = nn.Parameter(torch.full((heads, anchors), 0.5))
        self.register_buffer("kernel_width", torch.full((heads, 1), head**0.5))

    def mix(self, x: Tensor, state: State, form: Form) -> tuple[Tensor, State]:
        # Queries and keys are one projection: the published hash functions are learned for both at once.
        code = self._code(split(self.q(x), self.heads))
        v = split(self.v(x), self.heads)
        one = torch.ones_like(v[..., :1])
        q, k = torch.cat((code, self.bits * one), -1), torch.cat((code, one), -1)
        o, memory = normalized_recurrence(form, q, k, v, one, state["memory"])
        return self.out(join(o)), {"memory": memory}

    def _code(self, x: Tensor) -> Tensor:
        """(..., H, D) -> (..., H, bits) of 1 and -1."""
        difference = x.unsqueeze(-2) - self.anchors
        kernel = torch.exp(-(difference * difference).sum(-1) / (2 * self.kernel_width * self.kernel_width))
        raw = torch.matmul(self.hash, (kernel - self.mean).unsqueeze(-1)).squeeze(-1)
        sign = torch.where(raw >= 0, 1.0, -1.0).to(x.dtype)
        return sign + torch.clamp(raw, -1, 1) - torch.clamp(raw, -1, 1).detach() if self.training else sign

    def initial_state(self, batch: int) -> State:
        width = self.v.out_features // self.heads
        return {"memory": initial_memory(self.v.weight, batch, self.heads, width, self.bits + 1)}


def ecoformer() -> StreamModel:
    """The small configuration of the catalogue."""
    return small(lambda _: BinaryAttention(32, heads=2))
