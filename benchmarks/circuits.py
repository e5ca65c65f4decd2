"""Models for circuits: small cells with a step, random weights; what is trained comes from the catalogue."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

State = dict[str, Tensor]

CHANNELS = 12
CLASSES = 9


class _Loop(nn.Module):
    """The sequence form of a model that has only a step."""

    def forward(self, x: Tensor) -> Tensor:
        state, outputs = self.initial_state(x.shape[0]), []
        for t in range(x.shape[1]):
            y, state = self.step(x[:, t], state)
            outputs.append(y)
        return torch.stack(outputs, 1)


class GRU(_Loop):
    """A GRU cell and a head."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.cell = nn.GRUCell(CHANNELS, width)
        self.head = nn.Linear(width, CLASSES)

    def initial_state(self, batch: int) -> State:
        return {"hidden": torch.zeros(batch, self.width)}

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        hidden = self.cell(x, state["hidden"])
        return self.head(hidden), {"hidden": hidden}


class GatedLinearAttention(_Loop):
    """Heads with a square matrix state each: decayed row by row, written by an outer product, read by a query
    (Yang et al. 2023, "Gated Linear Attention Transformers with Hardware-Efficient Training")."""

    def __init__(self, heads: int, width: int) -> None:
        super().__init__()
        self.heads, self.width = heads, width
        self.query, self.key, self.value, self.decay = (nn.Linear(CHANNELS, heads * width) for _ in range(4))
        self.head = nn.Linear(heads * width, CLASSES)

    def initial_state(self, batch: int) -> State:
        return {"matrix": torch.zeros(batch, self.heads, self.width, self.width)}

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        shape = (x.shape[0], self.heads, self.width)
        query, key, value = (layer(x).reshape(shape) for layer in (self.query, self.key, self.value))
        decay = torch.sigmoid(self.decay(x) + 2).reshape(shape)
        matrix = state["matrix"] * decay[..., None] + key[..., None] @ value[..., None, :]
        read = query[..., None, :] @ matrix
        return self.head(read.reshape(x.shape[0], -1)), {"matrix": matrix}


class GatedDeltaNet(_Loop):
    """Heads with a square matrix state each: decayed, then what it holds for a key of length 1 is moved
    towards a value; a norm over what a query reads (Yang et al. 2025, "Gated Delta Networks").
    """

    def __init__(self, heads: int, width: int) -> None:
        super().__init__()
        self.heads, self.width = heads, width
        self.query, self.key, self.value, self.gate = (nn.Linear(CHANNELS, heads * width) for _ in range(4))
        self.decay, self.strength = nn.Linear(CHANNELS, heads), nn.Linear(CHANNELS, heads)
        self.gain = nn.Parameter(torch.ones(width))
        self.head = nn.Linear(heads * width, CLASSES)

    def initial_state(self, batch: int) -> State:
        return {"matrix": torch.zeros(batch, self.heads, self.width, self.width)}

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        shape = (x.shape[0], self.heads, self.width)
        query, key, value = (layer(x).reshape(shape) for layer in (self.query, self.key, self.value))
        query = query * torch.rsqrt((query * query).sum(-1, keepdim=True) + 1e-6)
        key = key * torch.rsqrt((key * key).sum(-1, keepdim=True) + 1e-6)
        decay = torch.exp(-functional.softplus(self.decay(x) - 2))[..., None, None]
        strength = torch.sigmoid(self.strength(x))[..., None]
        matrix = state["matrix"] * decay
        missing = strength * (value - (key[..., None, :] @ matrix)[..., 0, :])
        matrix = matrix + key[..., None] * missing[..., None, :]
        read = (query[..., None, :] @ matrix)[..., 0, :]
        read = read * torch.rsqrt((read * read).mean(-1, keepdim=True) + 1e-5) * self.gain
        gated = read.reshape(x.shape[0], -1) * functional.silu(self.gate(x))
        return self.head(gated), {"matrix": matrix}


class JetTransformer(nn.Module):
    """A transformer block over the particles of a jet, without states: attention whose exponentials, and the
    inverse of whose sums, are tables (the shape of "Ultra Fast Transformers on FPGAs for Particle Physics
    Experiments", Jiang et al. 2024)."""

    def __init__(self, particles: int = 15, features: int = 16, width: int = 16, heads: int = 2) -> None:
        super().__init__()
        self.shape = (particles, heads, width // heads)
        self.inlet, self.out = nn.Linear(features, width), nn.Linear(width, width)
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.up, self.down = nn.Linear(width, width), nn.Linear(width, width)
        self.head = nn.Linear(width, 5)
        self.register_buffer("ones", torch.ones(particles, 1))

    def forward(self, x: Tensor) -> Tensor:
        """x (B, particles, features) to five classes (B, 5)."""
        particles, heads, width = self.shape
        x = torch.relu(self.inlet(x))
        query, key, value = (
            layer(x).reshape(-1, particles, heads, width).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        weight = torch.exp(query @ key.transpose(-1, -2) * width**-0.5)
        mixed = (weight @ value) * torch.reciprocal(weight @ self.ones)
        x = x + self.out(mixed.transpose(1, 2).reshape(x.shape))
        x = x + self.down(torch.relu(self.up(x)))
        return self.head((x.transpose(1, 2) @ (self.ones / particles)).reshape(-1, x.shape[-1]))


def seeded(make: Callable[[], nn.Module]) -> nn.Module:
    """The model with the same random weights every time."""
    torch.manual_seed(0)
    return make().eval()
