"""ATLAS: a linear memory trained on a window of frames at once, with orthogonalised steps.

Source: Behrouz et al., "ATLAS: Learning to Optimally Memorize the Context at Test Time" (2025).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from millstream_models.core.forms import Form
from millstream_models.core.parts.heads import join, split
from millstream_models.core.parts.norm import RMSNorm, unit
from millstream_models.core.shell import Mixer, State, StreamModel, small

#: Coefficients of the quintic that Muon repeats (Jordan et al., 2024).
QUINTIC = (3.4445, -4.7750, 2.0315)
ROUNDS = 5


def polynomial(x: Tensor) -> Tensor:
    """x and all products of two of its channels, (..., D) -> (..., D + D (D + 1) / 2)."""
    width = x.shape[-1]
    pairs = [x[..., i : i + 1] * x[..., i:] for i in range(width)]
    return torch.cat((x, *pairs), -1)


def orthogonalize(matrix: Tensor) -> Tensor:
    """Push all singular values of (..., V, K) towards 1 by Newton-Schulz steps; V <= K.

    Without iteration to convergence: five rounds leave them between about 0.7 and 1.2.
    """
    a, b, c = QUINTIC
    x = matrix / torch.sqrt((matrix * matrix).sum((-2, -1), keepdim=True) + 1e-12)
    for _ in range(ROUNDS):
        square = torch.matmul(x, x.mT)
        x = a * x + torch.matmul(b * square + c * torch.matmul(square, square), x)
    return x


class WindowMemory(Mixer):
    """P' = η P + ∇ Σ_i γ_i |M φ(k_i) - v_i|² over the last frames, M' = α M - θ NewtonSchulz(P'), o = M'
    φ(q).

    γ, η, α and θ are gates of the input; γ belongs to the frame whose pair it weighs.
    """

    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads, self.window = heads, window
        self.q, self.k, self.v, self.out = (nn.Linear(width, width, bias=False) for _ in range(4))
        self.gates = nn.Linear(width, 4 * heads)
        self.norm = RMSNorm(width // heads)

    def mix(self, x: Tensor, state: State, form: Form) -> tuple[Tensor, State]:
        q, k, v = (split(layer(x), self.heads) for layer in (self.q, self.k, self.v))
        gates = torch.sigmoid(self.gates(x)).unflatten(-1, (4, self.heads))
        keys, key_ring = form.window(polynomial(unit(k)), state["keys"])
        values, value_ring = form.window(v, state["values"])
        # Before the first frame the ring holds zeros, and a weight of zero.
        weights, weight_ring = form.window(gates[..., 3, :], state["weights"])
        inputs = (polynomial(unit(q)), keys, values, weights, gates)
        o, (memory, momentum) = form.loop(_cell, inputs, (state["memory"], state["momentum"]))
        rings = {"keys": key_ring, "values": value_ring, "weights": weight_ring}
        return self.out(join(self.norm(o))), {**rings, "memory": memory, "momentum": momentum}

    def initial_state(self, batch: int) -> State:
        width = self.out.in_features // self.heads
        features = width + width * (width + 1) // 2
        memory = self.out.weight.new_zeros(batch, self.heads, width, features)
        ring = (batch, self.window - 1, self.heads)
        return {
            "keys": memory.new_zeros(*ring, features),
            "values": memory.new_zeros(*ring, width),
            "weights": memory.new_zeros(ring),
            "memory": memory,
            "momentum": memory.clone(),
        }


def _cell(inputs: tuple[Tensor, ...], state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
    q, keys, values, weights, gates = inputs
    memory, momentum = state
    keep, rate, forget = (gate[..., None, None] for gate in gates[:, :3].unbind(1))
    # From frames first to heads first, (B, H, W, ·).
    keys, values, weights = keys.transpose(1, 2), values.transpose(1, 2), weights.transpose(1, 2)
    error = torch.matmul(keys, memory.mT) - values
    gradient = 2 * torch.matmul((weights.unsqueeze(-1) * error).mT, keys)
    momentum = keep * momentum + gradient
    memory = forget * memory - rate * orthogonalize(momentum)
    return torch.matmul(memory, q.unsqueeze(-1)).squeeze(-1), (memory, momentum)


def atlas() -> StreamModel:
    """The small configuration of the catalogue: heads of width 4, a window of 3 frames."""
    return small(lambda _: WindowMemory(32, heads=8, window=3))
