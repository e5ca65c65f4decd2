"""Folds that look further than two layers: residual streams, attention products, the Legendre memory."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from fold_models import make, noise, warmed
from torch import Tensor, nn

from millstream.datasets import japanese_vowels
from millstream.loading import load
from millstream.reparameterize import BOUND, REWRITES, Report, reparameterize
from millstream.reparameterize.finite_memory import finite_memory
from millstream_models.foldable import ProgressiveNorm


def _refusal(report: Report, where: str) -> str:
    return next(each.why for each in report.left_alone if each.where == where)


def _equal(before: nn.Module, after: nn.Module, x: Tensor) -> None:
    with torch.no_grad():
        want, got = copy.deepcopy(before).eval()(x), after(x)
    assert (got - want).abs().max() < BOUND * want.abs().max()


class Attention(nn.Module):
    def __init__(self, width: int, heads: int = 1, bias: bool = False) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.out = nn.Linear(width, width), nn.Linear(width, width)
        self.key, self.value = nn.Linear(width, width, bias=bias), nn.Linear(width, width, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        shape = (*x.shape[:2], self.heads, x.shape[2] // self.heads)
        q, k, v = (each(x).reshape(shape).transpose(1, 2) for each in (self.query, self.key, self.value))
        weights = torch.softmax(q * shape[-1] ** -0.5 @ k.transpose(-1, -2), -1)
        return self.out((weights @ v).transpose(1, 2).reshape(x.shape))


class Transformer(nn.Module):
    """Tokens, learned positions, blocks with a norm of the given kind, a last norm, pooling, a head."""

    def __init__(self, norm: Callable[[int], nn.Module], width: int = 12) -> None:
        super().__init__()
        self.tokens = nn.Embedding(9, width)
        self.places = nn.Parameter(torch.randn(1, 32, width) + 0.3)
        self.norms = nn.ModuleList(norm(width) for _ in range(4))
        self.attention = nn.ModuleList(Attention(width, 3) for _ in range(2))
        self.expand = nn.ModuleList(nn.Linear(width, 24) for _ in range(2))
        self.contract = nn.ModuleList(nn.Linear(24, width) for _ in range(2))
        self.last, self.head = norm(width), nn.Linear(width, 5)

    def stream(self, x: Tensor) -> Tensor:
        x = self.tokens(x) + self.places[:, : x.shape[1]]
        for i in range(2):
            x = x + self.attention[i](self.norms[2 * i](x))
            x = x + self.contract[i](torch.relu(self.expand[i](self.norms[2 * i + 1](x))))
        return x

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.last(self.stream(x)).mean(1))


class Unpooled(Transformer):
    """The residual stream also leaves the module."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat((super().forward(x), self.stream(x).mean(1)), -1)


def _tokens(*shape: int) -> Tensor:
    return torch.randint(0, 9, shape, generator=torch.Generator().manual_seed(1))


def _trained(kind: type[nn.Module], norm: Callable[[int], nn.Module]) -> nn.Module:
    module, x = make(kind, norm), _tokens(6, 11)
    optimizer = torch.optim.SGD(module.parameters(), 0.05)
    for _ in range(8):
        optimizer.zero_grad()
        module(x).square().mean().backward()
        optimizer.step()
    return module


@pytest.mark.parametrize("places", [1, 2, 7])
def test_a_last_norm_folds_backward_through_the_residual_stream(places: int) -> None:
    module = _trained(Transformer, lambda width: ProgressiveNorm(width, 5))
    folded, report = reparameterize(module, _tokens(6, 11))
    assert report.applied[-1].rewrite == "norm through the residual stream"
    assert {each.rewrite for each in report.left_alone} <= {"attention scores", "attention values"}
    assert all(isinstance(each, nn.Identity) for each in (*folded.norms, folded.last))
    _equal(module, folded, _tokens(3, places))


def test_a_layer_norm_left_on_the_stream_keeps_a_norm_from_folding_backward() -> None:
    module = make(Transformer, lambda width: ProgressiveNorm(width, 5))
    module.norms[2] = nn.LayerNorm(12)
    for _ in range(8):
        module(_tokens(6, 11))
    _, report = reparameterize(module, _tokens(6, 11))
    assert "norms.2 also reads the residual stream" in next(
        each.why for each in report.left_alone if each.rewrite == "norm through the residual stream"
    )


@pytest.mark.parametrize("places", [1, 2, 7])
def test_layer_norms_become_rms_norms_where_the_writers_are_centred(places: int) -> None:
    module = _trained(Transformer, nn.LayerNorm)
    folded, report = reparameterize(module, _tokens(6, 11))
    assert report.applied[-1].rewrite == "centring"
    assert not any(isinstance(each, nn.LayerNorm) for each in folded.modules())
    _equal(module, folded, _tokens(3, places))


def test_a_stream_that_leaves_the_module_is_not_centred() -> None:
    module = _trained(Unpooled, nn.LayerNorm)
    folded, report = reparameterize(module, _tokens(6, 11))
    assert "also reads the residual stream and would miss its mean" in _refusal(report, "norms.0")
    _equal(module, folded, _tokens(3, 7))


def test_projections_of_one_wide_head_collapse() -> None:
    module = warmed(make(Attention, 16), noise(5, 9, 16))
    folded, report = reparameterize(module, noise(5, 9, 16))
    assert [each.rewrite for each in report.applied] == ["attention scores", "attention values"]
    assert isinstance(folded.key, nn.Identity)
    assert isinstance(folded.value, nn.Identity)
    assert report.after.parameters == report.before.parameters - 2 * 16 * 16
    _equal(module, folded, noise(3, 5, 16))


@pytest.mark.parametrize(
    ("heads", "bias", "why"), [(2, False, "split into heads"), (1, True, "key has a bias")]
)
def test_projections_that_do_not_collapse_say_why(heads: int, bias: bool, why: str) -> None:
    module = warmed(make(Attention, 16, heads, bias), noise(5, 9, 16))
    _, report = reparameterize(module, noise(5, 9, 16))
    assert why in _refusal(report, "query + key")
    assert not report.applied


def test_the_trained_legendre_memory_is_a_finite_response_for_short_sequences_and_streams() -> None:
    module, frames = load("lmuformer_jv").module.eval(), list(japanese_vowels.train().frames)
    folded, report = reparameterize(module, frames, {"finite memory": finite_memory(29)})
    assert [each.rewrite for each in report.applied] == ["finite memory"]
    assert folded.initial_state(1)["memory_0"].shape == (1, 29)
    longest = torch.tensor(max(frames, key=len))[None]
    for length in (1, 2, 7, longest.shape[1]):
        _equal(module, folded, longest[:, :length])
    state, outputs = folded.initial_state(1), []
    for t in range(longest.shape[1]):
        y, state = folded.step(longest[:, t], state)
        outputs.append(y)
    want = module(longest)
    assert (torch.stack(outputs, 1) - want).abs().max() < BOUND * want.abs().max()


def test_a_finite_response_that_is_too_short_is_taken_back() -> None:
    module, frames = load("lmuformer_jv").module, list(japanese_vowels.train().frames)
    _, report = reparameterize(module, frames, {"finite memory": finite_memory(9)})
    assert "the outputs differ" in _refusal(report, "trunk.blocks.0.token")


def test_every_rewrite_has_a_place_in_the_order() -> None:
    assert list(REWRITES)[:2] == ["progressive norm", "channel-idle feed-forward"]
    assert list(REWRITES).index("layer norm") < list(REWRITES).index("centring")
