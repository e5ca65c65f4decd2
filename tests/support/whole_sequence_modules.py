"""Modules for whole sequences as people write them, one per thing that `streamify` must get right."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


class Composed(nn.Module):
    """A forward as a function of the frames and some layers."""

    def __init__(self, compute: Callable[..., object], *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.compute = compute

    def forward(self, x: Tensor) -> object:
        return self.compute(x, *self.layers)


@dataclass(frozen=True)
class Case:
    """A module, frames (3, ...), and what `streamify` must find: look-ahead in steps and frames a step."""

    make: Callable[[], nn.Module]
    shape: tuple[int, ...] = (3, 30, 8)
    time_axis: int = 1
    look_ahead: int = 0
    block: int = 1
    window: int | None = None
    tokens: int = 0

    def module(self) -> nn.Module:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return self.make().eval()

    def frames(self) -> Tensor:
        generator = torch.Generator().manual_seed(1)
        if self.tokens:
            return torch.randint(0, self.tokens, self.shape, generator=generator)
        return torch.randn(self.shape, generator=generator)


def _channels(compute: Callable[..., object], *layers: nn.Module) -> Callable[[], nn.Module]:
    return lambda: Composed(compute, *layers)


def _causal_stack() -> nn.Module:
    first, second = nn.Conv1d(8, 6, 3, dilation=2), nn.Conv1d(6, 6, 4, dilation=3, groups=2)
    norm = nn.BatchNorm1d(6)
    pad = functional.pad
    return Composed(lambda x, a, n, b: b(pad(n(a(pad(x, (4, 0)))).relu(), (9, 0))), first, norm, second)


def _attention(x: Tensor, project: nn.Module, **how: object) -> Tensor:
    query, key, value = project(x).unflatten(-1, (3, 2, 4)).permute(2, 0, 3, 1, 4)
    mixed = functional.scaled_dot_product_attention(query, key, value, **how)  # type: ignore[arg-type]
    return mixed.transpose(1, 2).flatten(2)


def _near(x: Tensor, ahead: int, back: int) -> Tensor:
    places = torch.arange(x.shape[1])
    distance = places[:, None] - places
    return (distance >= -ahead) & (distance <= back)


def _sloped(x: Tensor, project: nn.Module) -> Tensor:
    places = torch.arange(x.shape[1])
    distance = places[:, None] - places
    seen = (distance >= 0) & (distance < 6)
    return _attention(x, project, attn_mask=torch.where(seen, -0.3 * distance.float(), -torch.inf))


def _rotary(x: Tensor, project: nn.Module) -> Tensor:
    angle = torch.arange(x.shape[1])[:, None] * torch.tensor([1.0, 0.1]).repeat(2)
    query, key, value = project(x).unflatten(-1, (3, 2, 4)).permute(2, 0, 3, 1, 4)

    def turned(t: Tensor) -> Tensor:
        return t * angle.cos() + torch.cat((-t[..., 2:], t[..., :2]), -1) * angle.sin()

    mixed = functional.scaled_dot_product_attention(turned(query), turned(key), value, is_causal=True)
    return mixed.transpose(1, 2).flatten(2)


def _transformer_layer(x: Tensor, layer: nn.Module) -> Tensor:
    mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1])
    return layer(x, src_mask=mask, is_causal=True)


def _multi_head(x: Tensor, layer: nn.Module) -> Tensor:
    later = torch.triu(torch.ones(x.shape[1], x.shape[1], dtype=torch.bool), 1)
    mixed, _ = layer(x, x, x, attn_mask=later)
    return mixed


def _cumulative_norm(x: Tensor) -> Tensor:
    count = torch.arange(1, x.shape[1] + 1).view(1, -1, 1) * x.shape[2]
    mean = x.sum(-1, keepdim=True).cumsum(1) / count
    variance = (x * x).sum(-1, keepdim=True).cumsum(1) / count - mean * mean
    return (x - mean) / (variance + 1e-3).sqrt()


class UNet(nn.Module):
    """Down by four and up again around an LSTM, with a skip connection."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.ModuleList([nn.Conv1d(8, 8, 4, 2, 1), nn.Conv1d(8, 8, 4, 2, 1)])
        self.back = nn.LSTM(8, 8, batch_first=True)
        self.up = nn.ModuleList([nn.ConvTranspose1d(8, 8, 4, 2, 1), nn.ConvTranspose1d(16, 8, 4, 2, 1)])

    def forward(self, x: Tensor) -> Tensor:
        half = functional.elu(self.down[0](x))
        quarter = functional.elu(self.down[1](half))
        quarter = self.back(quarter.transpose(1, 2))[0].transpose(1, 2)
        return self.up[1](torch.cat((functional.elu(self.up[0](quarter)), half), 1))


class ConvolutionalRecurrent(nn.Module):
    """A denoiser over time and frequency: Conv2d, GRU, transposed Conv2d, a mask."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Conv2d(1, 4, (2, 3), (1, 2), padding=(1, 1))
        self.back = nn.GRU(16, 16, batch_first=True)
        self.decoder = nn.ConvTranspose2d(8, 1, (1, 4), (1, 2), padding=(0, 1))

    def forward(self, x: Tensor) -> Tensor:
        inner = functional.elu(self.encoder(x[:, None])[:, :, :-1])
        batch, channels, frames, bands = inner.shape
        hidden = self.back(inner.permute(0, 2, 1, 3).reshape(batch, frames, -1))[0]
        hidden = hidden.reshape(batch, frames, channels, bands).permute(0, 2, 1, 3)
        return torch.sigmoid(self.decoder(torch.cat((inner, hidden), 1)))[:, 0] * x


def _in_place(x: Tensor, layer: nn.Module) -> Tensor:
    y = x.clone()
    y[:, 1:] = y[:, 1:] - 0.9 * x[:, :-1]
    y[..., 2].mul_(2)
    return layer(y).relu_()


def _over_bands(x: Tensor, layer: nn.Module) -> Tensor:
    rows = layer(x.reshape(-1, x.shape[2], 1))[0]
    return rows.reshape(x.shape[0], x.shape[1], -1)


_CHANNELS = {"shape": (3, 8, 32), "time_axis": 2}

CASES = {
    "pointwise": Case(lambda: nn.Sequential(nn.Linear(8, 5), nn.LayerNorm(5), nn.GELU())),
    "causal convolutions": Case(_causal_stack, **_CHANNELS),
    "cut at the end": Case(
        _channels(lambda x, a: a(x)[..., :-4], nn.Conv1d(8, 6, 3, padding=4, dilation=2)), **_CHANNELS
    ),
    "symmetric with a residual": Case(
        _channels(
            lambda x, a, b: x[:, :6] + b(a(x).relu()),
            nn.Conv1d(8, 6, 3, padding=1),
            nn.Conv1d(6, 6, 5, padding="same"),
        ),
        look_ahead=3,
        **_CHANNELS,
    ),
    "without padding": Case(
        _channels(lambda x, a, b: b(a(x)), nn.Conv1d(8, 6, 3), nn.Conv1d(6, 6, 5, padding=2)),
        look_ahead=4,
        **_CHANNELS,
    ),
    "look-ahead, then a recurrence": Case(
        _channels(
            lambda x, a, g: g(a(x.transpose(1, 2)).transpose(1, 2))[0],
            nn.Conv1d(8, 6, 5, padding=2),
            nn.GRU(6, 4, batch_first=True),
        ),
        look_ahead=2,
    ),
    "two-layer GRU": Case(
        _channels(lambda x, g: g(x)[0], nn.GRU(8, 6, 2, batch_first=True)),
    ),
    "LSTM with time in front": Case(
        _channels(lambda x, g: g(x.transpose(0, 1))[0].transpose(0, 1), nn.LSTM(8, 6, 2, proj_size=3)),
    ),
    "plain RNN": Case(_channels(lambda x, g: g(x)[0], nn.RNN(8, 6, batch_first=True, nonlinearity="relu"))),
    "recurrence over bands": Case(
        _channels(_over_bands, nn.GRU(1, 3, bidirectional=True, batch_first=True)),
    ),
    "stride, then a recurrence": Case(
        _channels(
            lambda x, a, g: g(a(x.transpose(1, 2)).transpose(1, 2))[0],
            nn.Conv1d(8, 6, 6, stride=2, padding=2),
            nn.GRU(6, 4, batch_first=True),
        ),
        look_ahead=1,
        block=2,
    ),
    "pooling over time": Case(
        _channels(lambda x, a, b: b(a(x)), nn.MaxPool1d(2), nn.AvgPool1d(3, 2, 1)), block=4, **_CHANNELS
    ),
    "down and up": Case(
        _channels(
            lambda x, a, b: b(a(x)), nn.Conv1d(8, 6, 4, stride=4), nn.ConvTranspose1d(6, 8, 4, stride=4)
        ),
        block=4,
        **_CHANNELS,
    ),
    "interpolated branch": Case(
        _channels(
            lambda x, a: functional.interpolate(functional.max_pool1d(x, 2), scale_factor=2) + a(x),
            nn.Conv1d(8, 8, 3, padding=1),
        ),
        look_ahead=1,
        block=2,
        **_CHANNELS,
    ),
    "branches of three delays": Case(
        _channels(
            lambda x, a, b: torch.cat((x, a(x), b(x)), 1),
            nn.Conv1d(8, 4, 3, padding=1),
            nn.Conv1d(8, 4, 7, padding=3),
        ),
        look_ahead=3,
        **_CHANNELS,
    ),
    "u-net": Case(UNet, look_ahead=2, block=4, **_CHANNELS),
    "time and frequency": Case(ConvolutionalRecurrent),
    "Conv2d with look-ahead": Case(
        _channels(
            lambda x, a, b: b(a(x[:, None])).squeeze(1),
            nn.Conv2d(1, 4, 3, padding=1),
            nn.Conv2d(4, 1, (5, 1), (2, 1), (2, 0)),
        ),
        look_ahead=1,
        block=2,
    ),
    "embedding": Case(
        _channels(lambda x, e, g: g(e(x))[0], nn.Embedding(11, 6), nn.LSTM(6, 5, batch_first=True)),
        shape=(3, 30),
        tokens=11,
    ),
    "cumulative mean": Case(
        lambda: Composed(lambda x: x.cumsum(1) / torch.arange(1, x.shape[1] + 1)[None, :, None])
    ),
    "cumulative maximum": Case(lambda: Composed(lambda x: torch.cummax(x, 1).values)),
    "cumulative norm": Case(lambda: Composed(_cumulative_norm)),
    "mean over all frames": Case(_channels(lambda x, a: a(x.mean(1)), nn.Linear(8, 3))),
    "last frame": Case(
        _channels(lambda x, g, a: a(g(x)[0][:, -1]), nn.GRU(8, 6, batch_first=True), nn.Linear(6, 3)),
    ),
    "last state": Case(
        _channels(lambda x, g, a: a(g(x)[1][-1]), nn.GRU(8, 6, batch_first=True), nn.Linear(6, 3)),
    ),
    "causal attention": Case(
        _channels(lambda x, p: _attention(x, p, is_causal=True), nn.Linear(8, 24)), window=7
    ),
    "attention in a band": Case(
        _channels(lambda x, p: _attention(x, p, attn_mask=_near(x, 2, 4)), nn.Linear(8, 24)), look_ahead=2
    ),
    "sloped attention": Case(_channels(_sloped, nn.Linear(8, 24))),
    "rotary attention": Case(_channels(_rotary, nn.Linear(8, 24)), window=5),
    "transformer layer": Case(
        _channels(_transformer_layer, nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)), window=7
    ),
    "multi-head attention": Case(
        _channels(_multi_head, nn.MultiheadAttention(8, 2, batch_first=True)), window=6
    ),
    "token shift": Case(
        _channels(
            lambda x, a: a(torch.cat((torch.zeros(x.shape[0], 1, 8), x[:, :-1]), 1)) + x, nn.Linear(8, 8)
        ),
    ),
    "differences": Case(lambda: Composed(lambda x: x[:, 1:] - x[:, :-1]), look_ahead=1),
    "windows of samples": Case(
        _channels(lambda x, a: a(x.unfold(1, 16, 4)), nn.Linear(16, 5)), shape=(3, 80), look_ahead=3, block=4
    ),
    "reshaped samples": Case(
        _channels(lambda x, a: a(x.view(x.shape[0], -1, 20)), nn.Linear(20, 5)), shape=(3, 120), block=20
    ),
    "streams merged into time": Case(
        _channels(lambda x, a: a(x.reshape(-1, 8)).view(x.shape[0], -1, 5), nn.Linear(8, 5)),
    ),
    "in place": Case(_channels(_in_place, nn.Linear(8, 8))),
    "last state beside look-ahead": Case(
        _channels(
            lambda x, a, g: (a(x.transpose(1, 2)).transpose(1, 2), g(x)[1][-1]),
            nn.Conv1d(8, 3, 3, padding=1),
            nn.GRU(8, 4, batch_first=True),
        ),
        look_ahead=1,
    ),
    "two results": Case(
        _channels(
            lambda x, a, b: (a(x.transpose(1, 2)).transpose(1, 2), b(x)),
            nn.Conv1d(8, 3, 5, padding=2),
            nn.Linear(8, 2),
        ),
        look_ahead=2,
    ),
}
