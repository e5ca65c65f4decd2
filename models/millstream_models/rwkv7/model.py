"""RWKV-7: a generalised delta rule whose decay, erasure and writing strength are vectors.

Source: Peng et al., "RWKV-7 Goose with Expressive Dynamic State Evolution" (2025).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from millstream_models.core.forms import Form
from millstream_models.core.parts.heads import join, split
from millstream_models.core.parts.norm import HeadLayerNorm, RMSNorm
from millstream_models.core.shell import Mixer, State, StreamModel
from millstream_models.core.shell.small import INPUTS, OUTPUTS, WIDTH, seeded

#: The decay is exp(-e^-0.5 sigmoid(.)), never below 0.545.
FASTEST = math.exp(-0.5)


class LowRank(nn.Module):
    """activation(x A) B + bias: how RWKV-7 makes its vectors."""

    def __init__(self, width: int, rank: int, activation: nn.Module) -> None:
        super().__init__()
        self.down = nn.Linear(width, rank, bias=False)
        self.activation = activation
        self.up = nn.Linear(rank, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.up(self.activation(self.down(x)))


class TimeMix(nn.Module):
    """S' = S Diag(w) - S κ (κ a)ᵀ + v kᵀ, o = S' r; and a direct path from this frame's key to its value.

    The first layer's values are mixed into those of every later layer within the same frame; `first` is None
    in the first layer.
    """

    def __init__(self, width: int, heads: int, rank: int = 8, mixes_first: bool = True) -> None:
        super().__init__()
        self.heads = heads
        self.shift = nn.Parameter(torch.rand(6, width))
        self.r, self.k, self.v, self.out = (nn.Linear(width, width, bias=False) for _ in range(4))
        self.decay = LowRank(width, rank, nn.Tanh())
        self.learning = LowRank(width, rank, nn.Identity())
        self.gate = LowRank(width, rank, nn.Sigmoid())
        self.mix_first = LowRank(width, rank, nn.Identity()) if mixes_first else None
        self.erase_scale, self.write_scale = (nn.Parameter(torch.ones(width)) for _ in range(2))
        self.bonus = nn.Parameter(torch.zeros(heads, width // heads))
        self.norm = HeadLayerNorm(heads, width // heads, epsilon=64e-5)

    def mix(self, x: Tensor, first: Tensor | None, state: State, form: Form) -> tuple[Tensor, Tensor, State]:
        """Frames, the first layer's values, the state -> frames, the first layer's values, the state."""
        before, last = form.previous(x, state["frame"])
        r, w, k, v, a, g = (x + weight * (before - x) for weight in self.shift)
        decay = torch.exp(-FASTEST * torch.sigmoid(self.decay(w)))
        learning = torch.sigmoid(self.learning(a))
        r, k, value = self.r(r), self.k(k), self.v(v)
        if self.mix_first is not None and first is not None:
            value = value + (first - value) * torch.sigmoid(self.mix_first(v))
        erased = _unit(split(k * self.erase_scale, self.heads))
        k = k * (1 + (learning - 1) * self.write_scale)
        r, k, v, decay, learning = (split(y, self.heads) for y in (r, k, value, decay, learning))
        o, memory = form.rank_one(r, k, v, decay, -erased * learning, erased, state["memory"])
        o = self.norm(o) + (r * k * self.bonus).sum(-1, keepdim=True) * v
        after = {"frame": last, "memory": memory}
        return self.out(join(o) * self.gate(g)), value if first is None else first, after

    def initial_state(self, batch: int) -> State:
        width = self.out.in_features // self.heads
        weight = self.out.weight
        return {
            "frame": weight.new_zeros(batch, self.out.in_features),
            "memory": weight.new_zeros(batch, self.heads, width, width),
        }


class ChannelMix(nn.Module):
    """down(relu(up(x mixed with the frame before))²)."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.rand(width))
        self.up, self.down = nn.Linear(width, hidden, bias=False), nn.Linear(hidden, width, bias=False)

    def mix(self, x: Tensor, past: Tensor, form: Form) -> tuple[Tensor, Tensor]:
        before, last = form.previous(x, past)
        hidden = torch.relu(self.up(x + self.shift * (before - x)))
        return self.down(hidden * hidden), last


class RWKV7(Mixer):
    """All blocks of an RWKV-7, as the first layer's values cross them."""

    def __init__(self, width: int, heads: int, layers: int, hidden: int) -> None:
        super().__init__()
        times = [TimeMix(width, heads, mixes_first=i > 0) for i in range(layers)]
        channels = [ChannelMix(width, hidden) for _ in range(layers)]
        self.times = cast("Sequence[TimeMix]", nn.ModuleList(times))
        self.channels = cast("Sequence[ChannelMix]", nn.ModuleList(channels))
        self.time_norms, self.channel_norms = (
            nn.ModuleList(RMSNorm(width) for _ in range(layers)) for _ in range(2)
        )

    def mix(self, x: Tensor, state: State, form: Form) -> tuple[Tensor, State]:
        first, after = None, {}
        for i, (time, channel) in enumerate(zip(self.times, self.channels, strict=True)):
            own = {"frame": state[f"time_frame_{i}"], "memory": state[f"memory_{i}"]}
            y, first, own = time.mix(self.time_norms[i](x), first, own, form)
            x = x + y
            y, last = channel.mix(self.channel_norms[i](x), state[f"channel_frame_{i}"], form)
            x = x + y
            after[f"time_frame_{i}"], after[f"memory_{i}"] = own["frame"], own["memory"]
            after[f"channel_frame_{i}"] = last
        return x, after

    def initial_state(self, batch: int) -> State:
        state = {}
        for i, time in enumerate(self.times):
            own = time.initial_state(batch)
            state[f"time_frame_{i}"], state[f"memory_{i}"] = own["frame"], own["memory"]
            state[f"channel_frame_{i}"] = own["frame"].clone()
        return state


def _unit(x: Tensor) -> Tensor:
    """x / |x|, the length at least 1e-12."""
    return x / torch.sqrt((x * x).sum(-1, keepdim=True)).clamp(min=1e-12)


def rwkv7() -> StreamModel:
    """The small configuration of the catalogue: two layers."""
    return seeded(
        lambda: StreamModel(nn.Linear(INPUTS, WIDTH), [RWKV7(WIDTH, 2, 2, 2 * WIDTH)], WIDTH, OUTPUTS)
    )
