"""Steps with learned queries and gate bounds, constants that a graph shows and a module hides."""

from __future__ import annotations

import torch
from small_models import stepped
from torch import Tensor, nn


class ConstantQuery(nn.Module):
    """Aaren: attention whose query is learned, s = q . k / sqrt(d), as a running softmax over the frames."""

    frame = (16,)

    def __init__(self, width: int = 16, heads: int = 4) -> None:
        super().__init__()
        self.heads, self.head = heads, width // heads
        self.query = nn.Parameter(torch.randn(heads, self.head))
        self.key, self.value = nn.Linear(width, width, bias=False), nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    def initial_state(self, batch: int) -> dict[str, Tensor]:
        return {
            "largest": torch.full((batch, self.heads), -1e30),
            "sum": torch.zeros(batch, self.heads, self.head),
            "weight": torch.zeros(batch, self.heads),
        }

    def step(self, x: Tensor, state: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        k = self.key(x).view(-1, self.heads, self.head)
        v = self.value(x).view(-1, self.heads, self.head)
        score = (k * self.query).sum(-1) / self.head**0.5
        largest = torch.maximum(state["largest"], score)
        keep, write = torch.exp(state["largest"] - largest), torch.exp(score - largest)
        total = state["sum"] * keep[..., None] + v * write[..., None]
        weight = state["weight"] * keep + write
        mixed = (total / weight[..., None]).flatten(1)
        return self.out(mixed), {"largest": largest, "sum": total, "weight": weight}

    def forward(self, x: Tensor) -> Tensor:
        return stepped(self, x)


class BoundedGates(nn.Module):
    """HGRN: f = lb + (1 - lb) sigmoid(W x), with bounds from a running sum of a softmax over layers.

    The first bound is 0; the table is such that the last bound rounds to 1, which shuts its gate's input.
    """

    frame = (8,)

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.tensor([-200.0, 0.0, 200.0])[:, None].expand(3, width).clone())
        self.gates = nn.ModuleList(nn.Linear(width, width) for _ in range(3))
        self.inputs = nn.ModuleList(nn.Linear(width, width) for _ in range(3))
        self.width = width

    def initial_state(self, batch: int) -> dict[str, Tensor]:
        return {f"hidden_{i}": torch.zeros(batch, self.width) for i in range(3)}

    def step(self, x: Tensor, state: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        shares = torch.softmax(self.table, 0)
        bounds = shares.cumsum(0) - shares[:1]
        following = {}
        for i, (gate, inlet) in enumerate(zip(self.gates, self.inputs, strict=True)):
            keep = bounds[i] + (1 - bounds[i]) * torch.sigmoid(gate(x))
            following[f"hidden_{i}"] = keep * state[f"hidden_{i}"] + (1 - keep) * torch.tanh(inlet(x))
            x = x + following[f"hidden_{i}"]
        return x, following

    def forward(self, x: Tensor) -> Tensor:
        return stepped(self, x)
