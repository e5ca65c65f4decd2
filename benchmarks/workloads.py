"""Five steps to time: A an LMU, B a GRU, C and E Mamba, D gated DeltaNet. Random weights, for speed only.

Every module takes frames of 40 numbers and keeps the model protocol; `forward` is the loop over the step,
because only the step is timed. Every state begins at zero, which the runners of peers rely on. Sizes follow
models of the field: A 0.47 M parameters, E 20 M.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from frames import CHANNELS
from torch import Tensor, nn
from torch.nn import functional

State = dict[str, Tensor]


class _Loop(nn.Module):
    """The sequence form of a model that has only a step."""

    def forward(self, x: Tensor) -> Tensor:
        state, outputs = self.initial_state(x.shape[0]), []
        for t in range(x.shape[1]):
            y, state = self.step(x[:, t], state)
            outputs.append(y)
        return torch.stack(outputs, 1)


class RMSNorm(nn.Module):
    """x / rms(x) * gain."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + 1e-6) * self.gain


class LMU(_Loop):
    """A: four Legendre memories of order 128 with feed-forward blocks."""

    def __init__(self, width: int = 128, order: int = 128, layers: int = 4, hidden: int = 256) -> None:
        super().__init__()
        self.order = order
        self.inlet = nn.Linear(CHANNELS, width)
        self.write = nn.ModuleList([nn.Linear(width, 1) for _ in range(layers)])
        self.transition = nn.ParameterList([torch.randn(order, order) * 0.05 for _ in range(layers)])
        self.input_matrix = nn.ParameterList([torch.randn(order) for _ in range(layers)])
        self.read = nn.ModuleList([nn.Linear(order + width, width) for _ in range(layers)])
        self.up = nn.ModuleList([nn.Linear(width, hidden) for _ in range(layers)])
        self.down = nn.ModuleList([nn.Linear(hidden, width) for _ in range(layers)])
        self.head = nn.Linear(width, 35)

    def initial_state(self, batch: int) -> State:
        return {f"memory_{i}": torch.zeros(batch, self.order) for i in range(len(self.read))}

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        x, after = torch.relu(self.inlet(x)), {}
        for i, read in enumerate(self.read):
            u = torch.relu(self.write[i](x))
            memory = state[f"memory_{i}"] @ self.transition[i].T + u * self.input_matrix[i]
            after[f"memory_{i}"] = memory
            x = x + torch.relu(read(torch.cat((memory, x), -1)))
            x = x + self.down[i](torch.relu(self.up[i](x)))
        return self.head(x), after


class GRU(_Loop):
    """B: a two-layer GRU of width 128."""

    def __init__(self, width: int = 128, layers: int = 2) -> None:
        super().__init__()
        self.width = width
        self.inner = nn.ModuleList([nn.Linear(width if i else CHANNELS, 3 * width) for i in range(layers)])
        self.outer = nn.ModuleList([nn.Linear(width, 3 * width) for _ in range(layers)])
        self.head = nn.Linear(width, 12)

    def initial_state(self, batch: int) -> State:
        return {f"hidden_{i}": torch.zeros(batch, self.width) for i in range(len(self.inner))}

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        after = {}
        for i, (inner, outer) in enumerate(zip(self.inner, self.outer, strict=True)):
            hidden = state[f"hidden_{i}"]
            input_r, input_z, input_n = inner(x).chunk(3, -1)
            hidden_r, hidden_z, hidden_n = outer(hidden).chunk(3, -1)
            reset, update = torch.sigmoid(input_r + hidden_r), torch.sigmoid(input_z + hidden_z)
            new = torch.tanh(input_n + reset * hidden_n)
            x = new + update * (hidden - new)
            after[f"hidden_{i}"] = x
        return self.head(x), after


class Mamba(_Loop):
    """C (four layers of width 128) and E (twelve of 512): selective state spaces with a short convolution."""

    def __init__(self, layers: int = 4, width: int = 128, inner: int = 256, order: int = 16) -> None:
        super().__init__()
        self.inner, self.order, self.taps, self.rank = inner, order, 4, max(1, width // 16)
        self.inlet = nn.Linear(CHANNELS, width)
        self.norm = nn.ModuleList([RMSNorm(width) for _ in range(layers)])
        self.split = nn.ModuleList([nn.Linear(width, 2 * inner, bias=False) for _ in range(layers)])
        self.kernel = nn.ParameterList([torch.randn(inner, self.taps) * 0.3 for _ in range(layers)])
        self.offset = nn.ParameterList([torch.randn(inner) * 0.1 for _ in range(layers)])
        parameters = self.rank + 2 * order
        self.select = nn.ModuleList([nn.Linear(inner, parameters, bias=False) for _ in range(layers)])
        self.delta = nn.ModuleList([nn.Linear(self.rank, inner) for _ in range(layers)])
        decay = -torch.arange(1, order + 1).float().repeat(inner, 1)
        self.decay = nn.ParameterList([decay.clone() for _ in range(layers)])
        self.skip = nn.ParameterList([torch.ones(inner) for _ in range(layers)])
        self.out = nn.ModuleList([nn.Linear(inner, width, bias=False) for _ in range(layers)])
        self.last_norm = RMSNorm(width)
        self.head = nn.Linear(width, 35)

    def initial_state(self, batch: int) -> State:
        state = {}
        for i in range(len(self.norm)):
            state[f"ring_{i}"] = torch.zeros(batch, self.inner, self.taps - 1)
            state[f"scan_{i}"] = torch.zeros(batch, self.inner, self.order)
        return state

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        x, after = self.inlet(x), {}
        for i, norm in enumerate(self.norm):
            u, gate = self.split[i](norm(x)).chunk(2, -1)
            window = torch.cat((state[f"ring_{i}"], u.unsqueeze(-1)), -1)
            after[f"ring_{i}"] = window[..., 1:]
            u = functional.silu((window * self.kernel[i]).sum(-1) + self.offset[i])
            rank, write, read = self.select[i](u).split([self.rank, self.order, self.order], -1)
            delta = functional.softplus(self.delta[i](rank))
            scan = state[f"scan_{i}"] * torch.exp(delta.unsqueeze(-1) * self.decay[i])
            scan = scan + (delta * u).unsqueeze(-1) * write.unsqueeze(1)
            after[f"scan_{i}"] = scan
            y = ((scan * read.unsqueeze(1)).sum(-1) + self.skip[i] * u) * functional.silu(gate)
            x = x + self.out[i](y)
        return self.head(self.last_norm(x)), after


class GatedDeltaNet(_Loop):
    """D: four layers of width 128, four heads with 32 x 32 matrix states."""

    def __init__(self, width: int = 128, heads: int = 4, layers: int = 4, hidden: int = 256) -> None:
        super().__init__()
        self.heads, self.head_width = heads, width // heads
        self.inlet = nn.Linear(CHANNELS, width)

        def linears(inside: int, outside: int) -> nn.ModuleList:
            return nn.ModuleList([nn.Linear(inside, outside, bias=False) for _ in range(layers)])

        self.mix, self.gates = linears(width, 4 * width), linears(width, 2 * heads)
        self.out = linears(width, width)
        self.up, self.down = linears(width, hidden), linears(hidden, width)
        self.norm = nn.ModuleList([RMSNorm(width) for _ in range(2 * layers)])
        self.head_norm = nn.ModuleList([RMSNorm(self.head_width) for _ in range(layers)])
        self.last_norm = RMSNorm(width)
        self.head = nn.Linear(width, 35)

    def initial_state(self, batch: int) -> State:
        shape = (batch, self.heads, self.head_width, self.head_width)
        return {f"delta_{i}": torch.zeros(shape) for i in range(len(self.mix))}

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        x, after = self.inlet(x), {}
        shape = (x.shape[0], self.heads, self.head_width)
        for i, mix in enumerate(self.mix):
            normed = self.norm[2 * i](x)
            query, key, value, gate = mix(normed).chunk(4, -1)
            query, key, value = _unit(query.reshape(shape)), _unit(key.reshape(shape)), value.reshape(shape)
            decay, strength = torch.sigmoid(self.gates[i](normed)).chunk(2, -1)
            matrix = state[f"delta_{i}"] * decay[..., None, None]
            erased = (matrix * key.unsqueeze(2)).sum(-1)
            matrix = matrix + ((value - erased) * strength[..., None]).unsqueeze(-1) * key.unsqueeze(2)
            after[f"delta_{i}"] = matrix
            y = (matrix * query.unsqueeze(2)).sum(-1)
            y = self.head_norm[i](y).reshape(x.shape[0], -1) * functional.silu(gate)
            x = x + self.out[i](y)
            x = x + self.down[i](functional.silu(self.up[i](self.norm[2 * i + 1](x))))
        return self.head(self.last_norm(x)), after


def _unit(x: Tensor) -> Tensor:
    return x * torch.rsqrt((x * x).sum(-1, keepdim=True) + 1e-6)


WORKLOADS: dict[str, Callable[[], nn.Module]] = {
    "A": LMU,
    "B": GRU,
    "C": Mamba,
    "D": GatedDeltaNet,
    "E": lambda: Mamba(12, 512, 1024, 16),
}


def workload(name: str) -> nn.Module:
    """The module of one workload in evaluation mode, with the same weights every time."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return WORKLOADS[name]().eval().requires_grad_(False)
