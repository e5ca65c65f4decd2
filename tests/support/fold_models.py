"""Modules with norms, branches and adapters as users write them, and statistics from real passes."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def warmed(module: nn.Module, x: Tensor, passes: int = 12) -> nn.Module:
    """The module after training passes with a few updates, so that no statistic and no weight is trivial."""
    optimizer = torch.optim.SGD(module.parameters(), 0.01)
    module.train()
    for turn in range(passes):
        optimizer.zero_grad()
        y = module(x * (1 + 0.1 * turn) + 0.3)
        (y.square().mean() + y.mean()).backward()
        optimizer.step()
    return module


def make(kind: type[nn.Module], *arguments: object) -> nn.Module:
    """A module with the same weights every time."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return kind(*arguments)


def noise(*shape: int) -> Tensor:
    """Seeded Gaussian noise."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


class CausalNet(nn.Module):
    """Norms in both orders around a causal convolution; `F.pad` in a sequence, a ring in a step."""

    def __init__(self) -> None:
        super().__init__()
        self.inlet, self.inlet_norm = nn.Linear(5, 6), nn.BatchNorm1d(6)
        self.ring_norm, self.conv = nn.BatchNorm1d(6), nn.Conv1d(6, 7, 3)
        self.norm, self.outlet = nn.LayerNorm(7), nn.Linear(7, 4)

    def initial_state(self, batch: int) -> dict[str, Tensor]:
        return {"ring": torch.zeros(batch, 2, 6)}

    def forward(self, x: Tensor) -> Tensor:
        hidden = self._over(self.ring_norm, torch.relu(self._over(self.inlet_norm, self.inlet(x))))
        padded = nn.functional.pad(hidden.transpose(1, 2), (2, 0))
        return self.outlet(self.norm(torch.tanh(self.conv(padded).transpose(1, 2))))

    def step(self, x: Tensor, state: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        hidden = self.ring_norm(torch.relu(self.inlet_norm(self.inlet(x))))
        window = torch.cat((state["ring"], hidden[:, None]), 1)
        y = self.conv(window.transpose(1, 2))[..., 0]
        return self.outlet(self.norm(torch.tanh(y))), {"ring": window[:, 1:]}

    @staticmethod
    def _over(norm: nn.Module, x: Tensor) -> Tensor:
        return norm(x.transpose(1, 2)).transpose(1, 2)


def conv_norm(inputs: int, outputs: int, kernel: int, groups: int = 1, stride: int = 1) -> nn.Sequential:
    """A convolution and its norm."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs))


class RepBlock(nn.Module):
    """RepVGG's block: 3 x 3, 1 x 1 and identity, each with its norm, then ReLU."""

    def __init__(self, channels: int, groups: int = 1, stride: int = 1) -> None:
        super().__init__()
        self.wide = conv_norm(channels, channels, 3, groups, stride)
        self.narrow = conv_norm(channels, channels, 1, groups, stride)
        self.identity = nn.BatchNorm2d(channels) if stride == 1 else None

    def forward(self, x: Tensor) -> Tensor:
        y = self.wide(x) + self.narrow(x)
        return torch.relu(y if self.identity is None else y + self.identity(x))


class ParallelPointwise(nn.Module):
    """FMViT's mixture: dense and grouped 1 x 1 convolutions side by side."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(conv_norm(channels, channels, 1, groups) for groups in (1, 2, 4))

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.gelu(sum(branch(x) for branch in self.branches))


class Adapter(nn.Module):
    """ZeroI2V's linear adapter: x + scale * up(down(x))."""

    def __init__(self, width: int, scale: float = 0.7) -> None:
        super().__init__()
        self.down, self.up, self.scale = nn.Linear(width, width // 4), nn.Linear(width // 4, width), scale

    def forward(self, x: Tensor) -> Tensor:
        return x + self.scale * self.up(self.down(x))


class LowRankUpdate(nn.Module):
    """LoRA: base(x) + scale * dropout(x) A^T B^T, with bare parameters."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.base, self.dropout = nn.Linear(width, width), nn.Dropout(0.1)
        self.a = nn.Parameter(torch.randn(2, width))
        self.b = nn.Parameter(torch.randn(width, 2))

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + (self.dropout(x) @ self.a.T @ self.b.T) * 0.5


class AdaptedBlock(nn.Module):
    """Adapters before and after layers, and a low-rank update."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.before, self.inner = Adapter(width), nn.Linear(width, width)
        self.outer, self.after = LowRankUpdate(width), Adapter(width)

    def forward(self, x: Tensor) -> Tensor:
        gates = torch.sigmoid(self.inner(self.before(self.norm(x))))
        return x + self.after(self.outer(gates))


def streamed(module: nn.Module, x: Tensor) -> Tensor:
    """The outputs (B, T, ...) of a module that takes its frames one by one."""
    state, outputs = module.initial_state(len(x)), []
    with torch.no_grad():
        for t in range(x.shape[1]):
            y, state = module.step(x[:, t], state)
            outputs.append(y)
    return torch.stack(outputs, 1)
