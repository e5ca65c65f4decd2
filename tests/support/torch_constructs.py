"""What sequence models are written with in torch: one small module each, in families that share a frame."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod

import torch
from torch import Tensor, nn
from torch.nn import functional

#: Width of the frame that every construct gets, reshaped.
WIDTH = 24


class Construct(nn.Module):
    """A function of the frame seen as (B, *shape), with the modules that it calls."""

    def __init__(self, shape: tuple[int, ...], function: Callable[..., Tensor], *modules: nn.Module) -> None:
        super().__init__()
        self.shape, self.function, self.inner = shape, function, nn.ModuleList(modules)

    def forward(self, frame: Tensor) -> Tensor:
        first = frame[:, : prod(self.shape)]
        return self.function(first.reshape(-1, *self.shape), *self.inner)


class Family(nn.Module):
    """A stateless step that puts out the result of every construct, each a submodule of its own name."""

    frame = (WIDTH,)

    def __init__(self, constructs: Mapping[str, Construct]) -> None:
        super().__init__()
        self.constructs = nn.ModuleDict(constructs)

    def forward(self, frame: Tensor) -> tuple[Tensor, ...]:
        return tuple(construct(frame) for construct in self.constructs.values())


def _of(shape: tuple[int, ...], function: Callable[..., Tensor], *modules: nn.Module) -> Construct:
    return Construct(shape, function, *modules)


def _layer(shape: tuple[int, ...], module: nn.Module) -> Construct:
    return Construct(shape, lambda x, layer: layer(x), module)


def _first(shape: tuple[int, ...], module: nn.Module) -> Construct:
    """The first result of a module that gives several."""
    return Construct(shape, lambda x, layer: layer(x)[0], module)


def activations() -> dict[str, Construct]:
    plain = ("ReLU", "ReLU6", "LeakyReLU", "PReLU", "ELU", "CELU", "SELU", "GELU", "SiLU", "Mish", "Sigmoid")
    plain += ("Tanh", "Softplus", "Softsign", "Hardtanh", "Hardsigmoid", "Hardswish", "Hardshrink")
    plain += ("Softshrink", "Tanhshrink", "LogSigmoid", "GLU")
    found = {name: _layer((WIDTH,), getattr(nn, name)()) for name in plain}
    found["gelu_tanh"] = _layer((WIDTH,), nn.GELU("tanh"))
    found["softmax"] = _of((4, 6), lambda x: x.softmax(-1))
    found["log_softmax"] = _of((4, 6), lambda x: x.log_softmax(1))
    found["masked"] = _of((4, 6), lambda x: x.masked_fill(x > 0.5, -torch.inf).softmax(-1).nan_to_num())
    return found


def normalizations() -> dict[str, Construct]:
    return {
        "layer": _layer((3, 8), nn.LayerNorm(8)),
        "rms": _layer((3, 8), nn.RMSNorm(8)),
        "group": _layer((6, 4), nn.GroupNorm(2, 6)),
        "batch": _layer((6, 4), nn.BatchNorm1d(6).eval()),
        "batch_2d": _layer((3, 2, 4), nn.BatchNorm2d(3).eval()),
        "instance": _layer((4, 6), nn.InstanceNorm1d(4, affine=True)),
        "unit": _of((4, 6), lambda x: functional.normalize(x, dim=-1)),
        "deviation": _of((WIDTH,), lambda x: x.std(-1, keepdim=True) + x.var(-1, keepdim=True)),
        "cosine": _of((4, 6), lambda x: functional.cosine_similarity(x, x * 2 + 1, dim=-1)),
    }


def convolutions() -> dict[str, Construct]:
    return {
        "dilated": _layer((4, 6), nn.Conv1d(4, 5, 3, padding=2, dilation=2)),
        "depthwise": _layer((4, 6), nn.Conv1d(4, 8, 3, groups=4, stride=2)),
        "planar": _layer((2, 3, 4), nn.Conv2d(2, 3, (3, 2), padding=(1, 0))),
        "reflecting": _layer((4, 6), nn.Conv1d(4, 3, 3, padding=1, padding_mode="reflect")),
        "transposed": _layer((4, 6), nn.ConvTranspose1d(4, 5, 4, stride=2, padding=1, output_padding=1)),
        "transposed_2d": _layer((4, 2, 3), nn.ConvTranspose2d(4, 4, 3, stride=2, groups=2, dilation=2)),
        "max_pool": _layer((4, 6), nn.MaxPool1d(3, 2, ceil_mode=True)),
        "mean_pool": _layer((4, 6), nn.AvgPool1d(3, 2, padding=1, ceil_mode=True)),
        "adaptive": _layer((4, 6), nn.AdaptiveAvgPool1d(2)),
        "norm_pool": _of((4, 6), lambda x, pool: pool(x.abs()), nn.LPPool1d(2, 2)),
        "columns": _of((2, 3, 4), lambda x: functional.unfold(x, (2, 3))),
        "shuffle": _layer((4, 2, 3), nn.PixelShuffle(2)),
    }


def recurrences() -> dict[str, Construct]:
    def one_step(x: Tensor, layer: nn.Module) -> Tensor:
        return layer(x[:, None])[0][:, 0]

    return {
        "gru": _of((12,), one_step, nn.GRU(12, 5, batch_first=True)),
        "gru_deep": _first((3, 8), nn.GRU(8, 5, num_layers=2, bidirectional=True, batch_first=True)),
        "lstm": _of((12,), one_step, nn.LSTM(12, 5, batch_first=True)),
        "lstm_both_ways": _first((3, 8), nn.LSTM(8, 5, bidirectional=True, batch_first=True)),
        "rnn": _first((3, 8), nn.RNN(8, 5, batch_first=True, nonlinearity="relu")),
        "gru_cell": _layer((WIDTH,), nn.GRUCell(WIDTH, 5)),
        "lstm_cell": _first((WIDTH,), nn.LSTMCell(WIDTH, 5)),
        "rnn_cell": _layer((WIDTH,), nn.RNNCell(WIDTH, 5)),
    }


def attentions() -> dict[str, Construct]:
    def itself(x: Tensor, layer: nn.Module) -> Tensor:
        return layer(x, x, x, need_weights=False)[0]

    return {
        "multihead": _of((3, 8), itself, nn.MultiheadAttention(8, 2, batch_first=True)),
        "weights": _of((3, 8), lambda x, a: a(x, x, x)[1], nn.MultiheadAttention(8, 2, batch_first=True)),
        "scaled": _of((2, 3, 4), lambda x: functional.scaled_dot_product_attention(x, x, x)),
        "causal": _of((2, 3, 4), lambda x: functional.scaled_dot_product_attention(x, x, x, is_causal=True)),
        "encoder": _layer((3, 8), nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()),
        "products": _of((4, 6), lambda x: torch.einsum("bij,bkj->bik", x, x)),
        "ellipsis": _of((4, 6), lambda x: torch.einsum("...ij,jk->...ik", x, torch.ones(6, 2))),
        "outer": _of((6,), lambda x: x[:, :, None] * x[:, None, :]),
        "batched": _of((4, 6), lambda x: torch.bmm(x, x.mT)),
        "bilinear": _of((6,), lambda x, layer: layer(x, x * 2), nn.Bilinear(6, 6, 3)),
    }


def searches() -> dict[str, Construct]:
    def experts(x: Tensor, gate: nn.Module, *each: nn.Module) -> Tensor:
        weights, chosen = gate(x).topk(2)
        outputs = torch.stack([expert(x) for expert in each], 1)
        picked = outputs.gather(1, chosen[:, :, None].expand(-1, -1, 4))
        return (picked * weights.softmax(-1)[:, :, None]).sum(1)

    return {
        "largest": _of((WIDTH,), lambda x: torch.cat((x.topk(3)[0], x.topk(2)[1].float()), -1)),
        "smallest": _of((4, 6), lambda x: x.topk(2, dim=1, largest=False)[0]),
        "sorted": _of((8,), lambda x: x.sort(-1, descending=True)[0]),
        "routing": _of((6,), experts, nn.Linear(6, 3), *(nn.Linear(6, 4) for _ in range(3))),
        "argmax": _of((4, 6), lambda x: x.argmax(-1)),
        "argmin": _of((4, 6), lambda x: x.argmin(1, keepdim=True)),
        "extremes": _of((4, 6), lambda x: x.max(-1)[0] - x.amin(-1)),
        "one_hot": _of((4, 6), lambda x: functional.one_hot(x.argmax(-1), 6).float()),
        "buckets": _of((WIDTH,), lambda x: torch.bucketize(x, torch.tensor([-1.0, 0.0, 1.0]))),
    }


def indexings() -> dict[str, Construct]:
    def assigned(x: Tensor) -> Tensor:
        y = x.clone()
        y[:, 1:3] = 0.5 * x[:, 3:5]
        return y

    def at(x: Tensor) -> Tensor:
        return (x > 0).long()

    return {
        "gather": _of((6,), lambda x: x.gather(-1, at(x))),
        "select": _of((6,), lambda x: x.index_select(-1, torch.tensor([3, 0, 0, 5]))),
        "pairs": _of((3, 4), lambda x: x[:, [0, 2], [1, 1]]),
        "embedding": _of((6,), lambda x, e: e((x * 10).long().abs() % 7), nn.Embedding(7, 3)),
        "scatter": _of((6,), lambda x: torch.zeros_like(x).scatter(-1, x.topk(2)[1], 1.0)),
        "scatter_add": _of((6,), lambda x: torch.zeros_like(x).scatter_add(-1, at(x), x)),
        "scatter_max": _of((6,), lambda x: torch.zeros_like(x).scatter_reduce(-1, at(x), x, "amax")),
        "index_add": _of((4,), lambda x: torch.zeros_like(x).index_add(1, torch.tensor([0, 2, 2, 1]), x)),
        "index_copy": _of((6,), lambda x: x.index_copy(1, torch.tensor([4, 1]), x[:, :2] * 2)),
        "assigned": _of((6,), assigned),
        "lower": _of((4, 6), lambda x: x.tril() - x.triu(1)),
        "diagonal": _of((4, 6), lambda x: torch.diagonal(x, dim1=1, dim2=2)),
    }


def movements() -> dict[str, Construct]:
    return {
        "rolled": _of((4, 6), lambda x: x.roll((1, -2), (1, 2))),
        "flipped": _of((6,), lambda x: x.flip(-1)),
        "constant_pad": _of((6,), lambda x: functional.pad(x, (2, 3), value=1.5)),
        "reflected": _of((4, 6), lambda x: functional.pad(x, (2, 3), mode="reflect")),
        "replicated": _of((4, 6), lambda x: functional.pad(x, (2, 3), mode="replicate")),
        "circular": _of((4, 6), lambda x: functional.pad(x, (2, 3), mode="circular")),
        "windows": _of((2, 9), lambda x: x.unfold(-1, 3, 2)),
        "chunks": _of((6,), lambda x: torch.stack([*x.chunk(3, -1), *x.split(2, -1)], 1)),
        "unbound": _of((4, 6), lambda x: torch.stack(x.unbind(2), 1)),
        "repeated": _of((6,), lambda x: torch.cat((x.repeat(1, 2), x.repeat_interleave(2, -1)), -1)),
        "expanded": _of((6,), lambda x: x[:, None].expand(-1, 3, -1)),
        "linear_upsampling": _layer((4, 6), nn.Upsample(scale_factor=2, mode="linear")),
        "turned": _of((4, 6), lambda x: x.movedim(1, 2).flatten(1).reshape(-1, 3, 8).transpose(1, 2)),
    }


def arithmetic() -> dict[str, Construct]:
    return {
        "sums": _of((WIDTH,), lambda x: x.cumsum(-1)),
        "products": _of((4, 6), lambda x: x.prod(-1)),
        "log_sum": _of((4, 6), lambda x: x.logsumexp(-1) + torch.logaddexp(x[..., 0], x[..., 1])),
        "roots": _of((WIDTH,), lambda x: (x.abs() + 0.1).rsqrt() + x.abs().log1p() + x.expm1()),
        "powers": _of((WIDTH,), lambda x: x.abs() ** 1.5 + x**3 + 2**x),
        "rounded": _of((WIDTH,), lambda x: x.floor() + x.ceil() + x.round() + x.trunc()),
        "remainders": _of((WIDTH,), lambda x: torch.fmod(x, 0.3) + x // 0.3),
        "clamped": _of((WIDTH,), lambda x: x.clamp(-1.0, 0.5) + torch.where(x > 0, x, x * x)),
        "angles": _of((WIDTH,), lambda x: torch.atan2(x, x + 1) + x.erf()),
        "finite": _of((WIDTH,), lambda x: (x.isnan() | x.isinf()).logical_not()),
        "any": _of((4, 6), lambda x: (x > 0).any(-1) ^ (x > -1).all(-1)),
        "bits": _of((WIDTH,), lambda x: ((x * 10).int() & 3 | 4) ^ ~(x * 9).int()),
        "shifts": _of((WIDTH,), lambda x: ((x * 10).int() >> 1) + ((x * 10).int() << 2)),
        "whole": _of((WIDTH,), lambda x: (x * 10).int() // 3 + (x * 10).int() % 3),
        "in_double": _of((4, 6), lambda x: x.double().mean(-1).float()),
    }


FAMILIES: tuple[Callable[[], dict[str, Construct]], ...] = (
    activations,
    normalizations,
    convolutions,
    recurrences,
    attentions,
    searches,
    indexings,
    movements,
    arithmetic,
)


class RingAttention(nn.Module):
    """Attention over the last five frames: a ring of keys and values, rotary positions, a mask until full."""

    frame = (8,)
    _slots = 5

    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Linear(8, 24)
        self.out = nn.Linear(8, 8)

    def initial_state(self, batch: int) -> dict[str, Tensor]:
        empty = torch.zeros(batch, 2, self._slots, 4)
        return {"keys": empty, "values": empty.clone(), "position": torch.zeros(batch, dtype=torch.int64)}

    def step(self, x: Tensor, state: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        position = state["position"]
        query, key, value = (part.reshape(-1, 2, 1, 4) for part in self.project(x).chunk(3, -1))
        place = (position % self._slots)[:, None, None, None].expand(-1, 2, 1, 4)
        keys = state["keys"].scatter(2, place, _rotated(key, position))
        values = state["values"].scatter(2, place, value)
        seen = torch.arange(self._slots)[None, None, None] <= position[:, None, None, None]
        heads = functional.scaled_dot_product_attention(
            _rotated(query, position), keys, values, attn_mask=seen
        )
        return self.out(heads.reshape(-1, 8)), {"keys": keys, "values": values, "position": position + 1}

    def forward(self, x: Tensor) -> Tensor:
        state, outputs = self.initial_state(x.shape[0]), []
        for t in range(x.shape[1]):
            y, state = self.step(x[:, t], state)
            outputs.append(y)
        return torch.stack(outputs, 1)


def _rotated(x: Tensor, position: Tensor) -> Tensor:
    """Rotary position embedding of (B, heads, 1, 4), the two halves of a head being the pairs."""
    angle = position[:, None, None, None] * torch.tensor([1.0, 0.1])
    first, second = x.chunk(2, -1)
    return torch.cat(
        (first * angle.cos() - second * angle.sin(), first * angle.sin() + second * angle.cos()), -1
    )
