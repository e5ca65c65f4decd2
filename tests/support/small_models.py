"""Models as a user would write them: no base class, no import of ours. Random weights, seeded."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def seeded(make: type[nn.Module]) -> nn.Module:
    """The module with the same weights every time."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return make()


def stepped(module: nn.Module, x: Tensor) -> Tensor:
    """The sequence form that is only a loop over the step."""
    state, outputs = module.initial_state(x.shape[0]), []
    for t in range(x.shape[1]):
        y, state = module.step(x[:, t], state)
        outputs.append(y)
    return torch.stack(outputs, 1)


class GatedRecurrence(nn.Module):
    """A GRU cell and a linear layer; the whole sequence runs through torch's own GRU. Odd widths."""

    frame = (5,)

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(5, 37, batch_first=True)
        self.cell = nn.GRUCell(5, 37)
        self.cell.load_state_dict({k.removesuffix("_l0"): v for k, v in self.gru.state_dict().items()})
        self.out = nn.Linear(37, 3)

    def initial_state(self, batch: int) -> dict[str, Tensor]:
        return {"hidden": torch.zeros(batch, 37)}

    def step(self, x: Tensor, state: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        hidden = self.cell(x, state["hidden"])
        return self.out(hidden), {"hidden": hidden}

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.gru(x)[0])


class RunningMean(nn.Module):
    """Two states of different dtypes: a float sum and an integer count."""

    frame = (4,)

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Linear(4, 4)

    def initial_state(self, batch: int) -> dict[str, Tensor]:
        return {"total": torch.zeros(batch, 4), "count": torch.zeros(batch, dtype=torch.int64)}

    def step(self, x: Tensor, state: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        total, count = state["total"] + self.mix(x), state["count"] + 1
        return total / count[:, None].float(), {"total": total, "count": count}

    def forward(self, x: Tensor) -> Tensor:
        counts = torch.arange(1, x.shape[1] + 1)
        return self.mix(x).cumsum(1) / counts[None, :, None]


class TokenLanguageModel(nn.Module):
    """Integer frames without shape: an embedding, an LSTM cell, a norm, log-probabilities."""

    frame = ()

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(17, 6)
        self.cell = nn.LSTMCell(6, 8)
        self.norm = nn.LayerNorm(8)
        self.out = nn.Linear(8, 17)

    def initial_state(self, batch: int) -> dict[str, Tensor]:
        return {"hidden": torch.zeros(batch, 8), "cell": torch.full((batch, 8), 0.25)}

    def step(self, x: Tensor, state: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        hidden, cell = self.cell(self.embedding(x), (state["hidden"], state["cell"]))
        return torch.log_softmax(self.out(self.norm(hidden)), -1), {"hidden": hidden, "cell": cell}

    def forward(self, x: Tensor) -> Tensor:
        return stepped(self, x)


class DelayLine(nn.Module):
    """States that only move: one becomes the other, a third never changes and starts uneven."""

    frame = (4,)

    def initial_state(self, batch: int) -> dict[str, Tensor]:
        uneven = torch.arange(4.0).expand(batch, 4).clone()
        return {"one": torch.zeros(batch, 4), "two": torch.ones(batch, 4), "uneven": uneven}

    def step(self, x: Tensor, state: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        y = x + state["one"] * state["uneven"]
        return y, {"one": state["two"], "two": x, "uneven": state["uneven"]}

    def forward(self, x: Tensor) -> Tensor:
        return stepped(self, x)


class CentredAverage(nn.Module):
    """One frame of look-ahead: the mean of the frames before, at and after, zeros outside."""

    frame = (3,)
    look_ahead = 1

    def initial_state(self, batch: int) -> dict[str, Tensor]:
        return {"past": torch.zeros(batch, 2, 3)}

    def step(self, x: Tensor, state: dict[str, Tensor], valid: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        newest = torch.where(valid[:, None], x, torch.zeros_like(x))
        window = torch.cat((state["past"], newest[:, None]), 1)
        return window.mean(1), {"past": window[:, 1:]}

    def forward(self, x: Tensor) -> Tensor:
        padded = nn.functional.pad(x, (0, 0, 1, 1))
        return (padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]) / 3


class ConvNet(nn.Module):
    """A stateless image classifier with grouped and strided convolutions."""

    frame = (1, 12, 12)

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(8, 16, 3, groups=4, stride=2, padding=1),
            nn.GELU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(16, 10),
            nn.Softmax(-1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class MutatedBuffer(nn.Module):
    """Keeps its state in a buffer: must be refused."""

    frame = (4,)

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("hidden", torch.zeros(1, 4))

    def initial_state(self, batch: int) -> dict[str, Tensor]:
        return {"last": torch.zeros(batch, 4)}

    def step(self, x: Tensor, state: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        self.hidden.mul_(0.5).add_(x.mean(0, keepdim=True))
        return self.hidden + state["last"], {"last": x}

    def forward(self, x: Tensor) -> Tensor:
        return stepped(self, x)


class CountsInPython(DelayLine):
    """Keeps a Python counter: must be refused."""

    def __init__(self) -> None:
        super().__init__()
        self.ticks = 0

    def step(self, x: Tensor, state: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        self.ticks += 1
        return super().step(x * self.ticks, state)


class DisagreeingForms(RunningMean):
    """The sequence form computes something else than the step: the ladder must fail."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * 1.01


class MixesStreams(RunningMean):
    """The step looks at the other streams of its batch: streams in a batch would not be alone."""

    def step(self, x: Tensor, state: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        return super().step(x - x.mean(0, keepdim=True), state)

    def forward(self, x: Tensor) -> Tensor:
        return stepped(self, x)


class UsesPlaces(nn.Module):
    """An operator that the fused lowering does not have, in two submodules."""

    frame = (12,)

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = _PooledPlaces(), _PooledPlaces()

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x) * 2)


class _PooledPlaces(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        pooled, places = nn.functional.max_pool1d(x[:, None], 2, return_indices=True)
        return (pooled * places)[:, 0]


class Upsampled(nn.Module):
    """A stateful decoder with an operator that TVM has and the fused lowering has not: Resize."""

    frame = (3, 10)

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(3, 4, 3, padding=1)
        self.up = nn.Upsample(scale_factor=2)

    def initial_state(self, batch: int) -> dict[str, Tensor]:
        return {"smoothed": torch.zeros(batch, 4, 20)}

    def step(self, x: Tensor, state: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        smoothed = 0.75 * state["smoothed"] + 0.25 * self.up(torch.tanh(self.convolution(x)))
        return smoothed.mean(1), {"smoothed": smoothed}

    def forward(self, x: Tensor) -> Tensor:
        return stepped(self, x)


class HalfPrecision(nn.Module):
    """Float16 within, with a state of float16; frames and outputs are float32."""

    frame = (40,)

    def __init__(self) -> None:
        super().__init__()
        self.inlet, self.outlet = nn.Linear(40, 64).half(), nn.Linear(64, 4).half()

    def initial_state(self, batch: int) -> dict[str, Tensor]:
        return {"hidden": torch.zeros(batch, 64, dtype=torch.float16)}

    def step(self, x: Tensor, state: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        hidden = torch.tanh(self.inlet(x.half()) + 0.5 * state["hidden"])
        return self.outlet(hidden).float(), {"hidden": hidden}

    def forward(self, x: Tensor) -> Tensor:
        return stepped(self, x)


class HalfState(nn.Module):
    """Float32 throughout, but for a state that is kept in float16."""

    frame = (5,)

    def __init__(self) -> None:
        super().__init__()
        self.inlet, self.outlet = nn.Linear(5, 24), nn.Linear(24, 3)

    def initial_state(self, batch: int) -> dict[str, Tensor]:
        return {"hidden": torch.zeros(batch, 24, dtype=torch.float16)}

    def step(self, x: Tensor, state: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        hidden = torch.tanh(self.inlet(x)) + 0.5 * state["hidden"].float()
        return self.outlet(hidden), {"hidden": hidden.half()}

    def forward(self, x: Tensor) -> Tensor:
        return stepped(self, x)


class HalfGated(nn.Module):
    """A whole GRU in float16: the fused lowering lacks the dtype and TVM the operator."""

    frame = (6, 3)

    def __init__(self) -> None:
        super().__init__()
        self.back = nn.GRU(3, 5, batch_first=True).half()

    def forward(self, x: Tensor) -> Tensor:
        return self.back(x.half())[0].float()


STREAMING = (GatedRecurrence, RunningMean, TokenLanguageModel, DelayLine, CentredAverage)


def frames(make: type[nn.Module], *shape: int) -> Tensor:
    """Seeded frames (*shape, *frame) for a model of this file."""
    generator = torch.Generator().manual_seed(1)
    if make is TokenLanguageModel:
        return torch.randint(0, 17, shape, generator=generator)
    return torch.randn(*shape, *make.frame, generator=generator)
