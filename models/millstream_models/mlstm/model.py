"""mLSTM: the LSTM of xLSTM with a matrix memory and exponential gates.

Source: Beck et al., "xLSTM: Extended Long Short-Term Memory" (NeurIPS 2024).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from millstream_models.core.forms import Form
from millstream_models.core.parts.heads import join, split
from millstream_models.core.parts.norm import HeadLayerNorm
from millstream_models.core.parts.normalizer import EPSILON, initial_memory, with_ones
from millstream_models.core.parts.short_convolution import ShortConvolution
from millstream_models.core.shell import Block, Mixer, State, StreamModel, small_stack


class BlockDiagonal(nn.Module):
    """A linear layer that mixes only groups of channels, (..., width) -> (..., width)."""

    def __init__(self, width: int, group: int = 4) -> None:
        super().__init__()
        bound = group**-0.5
        self.weight = nn.Parameter(torch.empty(width // group, group, group).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        groups = x.unflatten(-1, self.weight.shape[:2])
        return torch.matmul(self.weight, groups.unsqueeze(-1)).squeeze(-1).flatten(-2)


class MLSTM(Mixer):
    """C' = f C + i v kᵀ, n' = f n + i k, h = C' q / max(|n' · q|, 1); i = e^ĩ, f = sigmoid(f̃), per head.

    Memory and normaliser are kept scaled by e^-m, the running maximum of the exponents, so that nothing
    overflows; the threshold 1 becomes e^-m.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        inner = 2 * width
        self.heads = heads
        self.inlet = nn.Linear(width, 2 * inner, bias=False)
        self.convolution = ShortConvolution(inner, bias=True)
        self.q, self.k, self.v = (BlockDiagonal(inner) for _ in range(3))
        self.write, self.forget = (nn.Linear(3 * inner, heads) for _ in range(2))
        self.norm = HeadLayerNorm(heads, inner // heads)
        self.skip = nn.Parameter(torch.ones(inner))
        self.out = nn.Linear(inner, width, bias=False)
        with torch.no_grad():
            self.forget.bias.copy_(torch.linspace(3, 6, heads))

    def mix(self, x: Tensor, state: State, form: Form) -> tuple[Tensor, State]:
        x, z = self.inlet(x).chunk(2, -1)
        convolved, ring = self.convolution.mix(x, state["ring"], form)
        q, k, v = self.q(convolved), self.k(convolved), self.v(x)
        gates = torch.cat((q, k, v), -1)
        log_forget = functional.logsigmoid(self.forget(gates))
        forget, write, maximum, last = form.stabilize(log_forget, self.write(gates), state["maximum"])
        q, k, v = (split(y, self.heads) for y in (q, k, v))
        k = k * (k.shape[-1] ** -0.5 * write.unsqueeze(-1))
        o, memory = form.recur(q, k, with_ones(v), forget.unsqueeze(-1), state["memory"])
        threshold = torch.exp(-maximum).unsqueeze(-1)
        o = o[..., :-1] / (torch.maximum(o[..., -1:].abs(), threshold) + EPSILON)
        y = (join(self.norm(o)) + self.skip * convolved) * functional.silu(z)
        return self.out(y), {"ring": ring, "maximum": last, "memory": memory}

    def initial_state(self, batch: int) -> State:
        width = self.out.in_features // self.heads
        weight = self.out.weight
        return {
            "ring": self.convolution.initial_ring(batch),
            "maximum": weight.new_zeros(batch, self.heads),
            "memory": initial_memory(weight, batch, self.heads, width, width),
        }


def mlstm() -> StreamModel:
    """The small configuration of the catalogue: blocks of a mixer alone, as published."""
    return small_stack(lambda _: Block(32, MLSTM(32, heads=2)))
