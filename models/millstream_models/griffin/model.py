"""Griffin's recurrent block: a real-gated linear recurrence between a convolution and a gate.

Source: De et al., "Griffin: Mixing Gated Linear Recurrences with Local Attention for Efficient Language
Models" (2024); RecurrentGemma is made of it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from millstream_models.core.forms import Form
from millstream_models.core.parts.heads import join, split
from millstream_models.core.shell import Mixer, State, StreamModel, small

#: The exponent of the decay: a = sigmoid(Λ)^(8 r).
SHARPNESS = 8.0


class RealGatedRecurrence(Mixer):
    """h' = a h + sqrt(1 - a²) i x, a = e^(-8 r softplus(Λ)); r and i are gates of x, block-diagonal by head.

    The first frame of a stream is written in full, as nothing has decayed yet.
    """

    def __init__(self, width: int, heads: int, taps: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.x, self.y, self.out = (nn.Linear(width, width) for _ in range(3))
        self.taps = nn.Parameter(torch.randn(taps, width) * taps**-0.5)
        self.taps_bias = nn.Parameter(torch.zeros(width))
        head = width // heads
        self.gates = nn.Parameter(torch.randn(2, heads, head, head) * head**-0.5)
        self.gates_bias = nn.Parameter(torch.zeros(2, heads, head))
        self.decay = nn.Parameter(torch.empty(width).uniform_(-6, -2))

    def mix(self, x: Tensor, state: State, form: Form) -> tuple[Tensor, State]:
        gate = functional.gelu(self.y(x), approximate="tanh")
        x, ring = form.convolve(self.x(x), self.taps, self.taps_bias, state["ring"])
        heads = split(x, self.heads).unsqueeze(-1)
        write, fade = (
            join(torch.sigmoid(torch.matmul(w, heads).squeeze(-1) + b))
            for w, b in zip(self.gates, self.gates_bias, strict=True)
        )
        log_decay = -SHARPNESS * fade * functional.softplus(self.decay)
        started, has_started = form.previous(torch.ones_like(x[..., :1]), state["started"])
        size = torch.where(started > 0, torch.sqrt(1 - torch.exp(2 * log_decay)), 1.0)
        written, one = (write * x * size).unsqueeze(-1), torch.ones_like(x).unsqueeze(-1)
        h, memory = form.recur(one, one, written, torch.exp(log_decay).unsqueeze(-1), state["memory"])
        return self.out(h.squeeze(-1) * gate), {"ring": ring, "started": has_started, "memory": memory}

    def initial_state(self, batch: int) -> State:
        taps, width = self.taps.shape
        zeros = self.taps.new_zeros
        return {
            "ring": zeros(batch, taps - 1, width),
            "started": zeros(batch, 1),
            "memory": zeros(batch, width, 1, 1),
        }


def griffin() -> StreamModel:
    """The small configuration of the catalogue."""
    return small(lambda _: RealGatedRecurrence(32, heads=2))
