"""The delta family: DeltaNet, Gated DeltaNet, DeltaProduct, each also with negative eigenvalues.

Sources: Yang et al., "Parallelizing Linear Transformers with the Delta Rule over Sequence Length" (2024);
Yang, Kautz and Hatamizadeh, "Gated Delta Networks" (ICLR 2025); Siems et al., "DeltaProduct" (2025); Grazzi
et al., "Unlocking State-Tracking in Linear RNNs Through Negative Eigenvalues" (ICLR 2025).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from millstream_models.core.forms import Form
from millstream_models.core.parts.heads import join, split
from millstream_models.core.parts.norm import RMSNorm, unit
from millstream_models.core.parts.short_convolution import ShortConvolution
from millstream_models.core.shell import Mixer, State, StreamModel, small


class DeltaNet(Mixer):
    """S' = D + β k (v - Dᵀ k)ᵀ with D = α S, M times a frame; o = Sᵀ q / sqrt(K), q and k of length 1.

    Args:
        width, heads: sizes; keys and values are as wide as the model.
        micro_steps: M, writes per frame, each with a key, a value and a strength of its own.
        largest_strength: 1 keeps the state's part along a key between 0 and 1 times what it was; 2 lets it
            change its sign, which state tracking needs.
        gated: whether α is a gate of the input, and the output has a gate too; else α = 1 and no gate.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        micro_steps: int = 1,
        largest_strength: float = 1.0,
        gated: bool = False,
    ) -> None:
        super().__init__()
        self.heads, self.micro_steps, self.largest_strength = heads, micro_steps, largest_strength
        wide = micro_steps * width
        self.q = nn.Linear(width, width, bias=False)
        self.k, self.v = (nn.Linear(width, wide, bias=False) for _ in range(2))
        self.strength = nn.Linear(width, micro_steps * heads, bias=False)
        self.q_convolution = ShortConvolution(width)
        self.k_convolution, self.v_convolution = (ShortConvolution(wide) for _ in range(2))
        self.gates = DecayAndGate(width, heads) if gated else None
        self.norm = RMSNorm(width // heads)
        self.out = nn.Linear(width, width, bias=False)

    def mix(self, x: Tensor, state: State, form: Form) -> tuple[Tensor, State]:
        q, q_ring = self.q_convolution.mix(self.q(x), state["q_ring"], form)
        k, k_ring = self.k_convolution.mix(self.k(x), state["k_ring"], form)
        v, v_ring = self.v_convolution.mix(self.v(x), state["v_ring"], form)
        strength = self.largest_strength * torch.sigmoid(self.strength(x))
        q = unit(split(q, self.heads))
        micro = (self.micro_steps, self.heads)
        k, v, strength = (
            y.unflatten(-1, (*micro, y.shape[-1] // (micro[0] * micro[1]))) for y in (k, v, strength)
        )
        decay = self.gates.decay(x) if self.gates is not None else torch.ones_like(q[..., :1])
        o, memory = form.delta_product(q * q.shape[-1] ** -0.5, unit(k), v, strength, decay, state["memory"])
        o = join(self.norm(o))
        if self.gates is not None:
            o = o * functional.silu(self.gates.gate(x))
        after = {"q_ring": q_ring, "k_ring": k_ring, "v_ring": v_ring, "memory": memory}
        return self.out(o), after

    def initial_state(self, batch: int) -> State:
        width = self.q.out_features // self.heads
        return {
            "q_ring": self.q_convolution.initial_ring(batch),
            "k_ring": self.k_convolution.initial_ring(batch),
            "v_ring": self.v_convolution.initial_ring(batch),
            "memory": self.out.weight.new_zeros(batch, self.heads, width, width),
        }


class DecayAndGate(nn.Module):
    """What Gated DeltaNet adds: α = exp(-e^a softplus(W x + b)) per head, and a linear map for the gate."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.a_log = nn.Parameter(torch.log(torch.empty(heads).uniform_(1, 16)))
        self.amount = nn.Linear(width, heads, bias=False)
        self.bias = nn.Parameter(torch.empty(heads).uniform_(-5, -2))
        self.gate = nn.Linear(width, width, bias=False)

    def decay(self, x: Tensor) -> Tensor:
        """(..., width) -> (..., H, 1), between 0 and 1."""
        amount = functional.softplus(self.amount(x) + self.bias)
        return torch.exp(-torch.exp(self.a_log) * amount).unsqueeze(-1)


def deltanet() -> StreamModel:
    """DeltaNet in the small configuration of the catalogue."""
    return small(lambda _: DeltaNet(32, heads=2))


def deltanet_signed() -> StreamModel:
    """DeltaNet with strengths up to 2, so eigenvalues between -1 and 1."""
    return small(lambda _: DeltaNet(32, heads=2, largest_strength=2.0))


def gated_deltanet() -> StreamModel:
    """Gated DeltaNet in the small configuration of the catalogue."""
    return small(lambda _: DeltaNet(32, heads=2, gated=True))


def deltaproduct() -> StreamModel:
    """DeltaProduct with two micro-steps and strengths up to 2, as published."""
    return small(lambda _: DeltaNet(32, heads=2, micro_steps=2, largest_strength=2.0))


def gated_deltaproduct() -> StreamModel:
    """The same with a decay before the first micro-step, and an output gate."""
    return small(lambda _: DeltaNet(32, heads=2, micro_steps=2, largest_strength=2.0, gated=True))
