"""Every fold on modules with trained statistics: equal outputs, less to do, refusals with their reason."""

from __future__ import annotations

import copy

import pytest
import torch
from fold_models import (
    AdaptedBlock,
    CausalNet,
    ParallelPointwise,
    RepBlock,
    conv_norm,
    make,
    noise,
    streamed,
    warmed,
)
from torch import Tensor, nn

from millstream.errors import MutatedBuffer
from millstream.reparameterize import BOUND, REWRITES, Report, reparameterize
from millstream.reparameterize.batch_norm import not_fixed
from millstream.reparameterize.candidate import Candidate, put
from millstream_models.foldable import IdleFeedForward, ProgressiveNorm


def _names(report: Report) -> list[tuple[str, str]]:
    return [(each.rewrite, each.where) for each in report.applied]


def _refusal(report: Report, where: str) -> str:
    return next(each.why for each in report.left_alone if each.where == where)


def _equal(before: nn.Module, after: nn.Module, x: Tensor) -> None:
    before = copy.deepcopy(before).eval()
    with torch.no_grad():
        want, got = before(x), after(x)
    assert (got - want).abs().max() < BOUND * want.abs().max()


@pytest.mark.parametrize("length", [1, 2, 3, 7, 19])
def test_norms_around_a_causal_convolution_fold_and_stream_with_exact_borders(length: int) -> None:
    module = warmed(make(CausalNet), noise(3, 17, 5))
    folded, report = reparameterize(module, noise(2, 17, 5))
    assert _names(report) == [
        ("batch norm", "inlet + inlet_norm"),
        ("batch norm", "ring_norm + conv"),
        ("layer norm", "norm + outlet"),
    ]
    assert not any(isinstance(each, nn.BatchNorm1d) for each in folded.modules())
    x = noise(2, length, 5)
    _equal(module, folded, x)
    want = streamed(copy.deepcopy(module).eval(), x)
    assert (streamed(folded, x) - want).abs().max() < BOUND * want.abs().max()


def test_norms_before_and_after_padded_and_grouped_convolutions_fold_with_exact_borders() -> None:
    layers = (
        *(nn.BatchNorm2d(3), nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()),
        *(nn.BatchNorm2d(8), nn.Conv2d(8, 4, 3, stride=2, groups=2, padding=1), nn.GELU()),
        *(nn.BatchNorm2d(4), nn.Conv2d(4, 6, 3, padding=1, padding_mode="replicate"), nn.ReLU()),
        *(nn.ConvTranspose2d(6, 4, 2, stride=2, groups=2), nn.BatchNorm2d(4)),
    )
    module = warmed(make(nn.Sequential, *layers), noise(5, 3, 9, 9))
    folded, report = reparameterize(module, noise(5, 3, 9, 9))
    _equal(module, folded, noise(4, 3, 9, 9))
    assert len(report.applied) == 5
    assert not any(isinstance(each, nn.BatchNorm2d) for each in folded.modules())
    assert report.after.macs < report.before.macs
    assert report.after.parameters < report.before.parameters


@pytest.mark.parametrize(("groups", "stride"), [(1, 1), (2, 1), (8, 1), (1, 2)])
def test_parallel_branches_become_one_convolution(groups: int, stride: int) -> None:
    module = warmed(make(RepBlock, 8, groups, stride), noise(5, 8, 9, 9))
    folded, report = reparameterize(module, noise(5, 8, 9, 9))
    _equal(module, folded, noise(3, 8, 11, 7))
    (conv,) = (each for each in folded.modules() if isinstance(each, nn.Conv2d))
    assert (conv.kernel_size, conv.groups) == ((3, 3), groups)
    assert not any(isinstance(each, nn.BatchNorm2d) for each in folded.modules())
    assert report.applied[-1].rewrite == "linear map"


def test_dense_and_grouped_pointwise_convolutions_become_one() -> None:
    module = warmed(make(ParallelPointwise, 8), noise(5, 8, 6, 6))
    folded, _ = reparameterize(module, noise(5, 8, 6, 6))
    _equal(module, folded, noise(3, 8, 5, 7))
    (conv,) = (each for each in folded.modules() if isinstance(each, nn.Conv2d))
    assert conv.kernel_size == (1, 1)


def test_adapters_and_low_rank_updates_merge_into_the_layers_beside_them() -> None:
    module = warmed(make(AdaptedBlock), noise(5, 7, 16))
    folded, report = reparameterize(module, noise(5, 7, 16))
    _equal(module, folded, noise(4, 3, 16))
    layers = [each for each in folded.modules() if isinstance(each, nn.Linear)]
    assert [(each.in_features, each.out_features) for each in layers] == [(16, 16), (16, 16)]
    assert ("layer norm", "norm + before_down_merged") in _names(report)


def test_a_low_rank_pair_stays_as_its_product_is_larger() -> None:
    pair = nn.Sequential(nn.Linear(16, 2), nn.Linear(2, 16), nn.ReLU())
    folded, report = reparameterize(nn.Sequential(pair, nn.Linear(16, 3)), noise(5, 16))
    assert not report.applied
    assert "would not help" in _refusal(report, "0.0 + 0.1")
    assert len([each for each in folded.modules() if isinstance(each, nn.Linear)]) == 3


@pytest.mark.parametrize("shortcut", [True, False])
def test_a_channel_idle_layer_becomes_three_matrices(shortcut: bool) -> None:
    module = warmed(make(IdleFeedForward, 16, 64, 0.75, shortcut), noise(5, 9, 16))
    folded, report = reparameterize(module, noise(5, 9, 16))
    _equal(module, folded, noise(3, 7, 16))
    macs = {id(m): m.weight.numel() for m in folded.modules() if isinstance(m, nn.Linear)}
    assert sum(macs.values()) == 3 * 16 * 16
    assert _names(report) == [("channel-idle feed-forward", "the module itself")]


def test_a_channel_idle_layer_with_few_idle_channels_stays() -> None:
    module = warmed(make(IdleFeedForward, 16, 32, 0.25, True), noise(5, 9, 16))
    _, report = reparameterize(module, noise(5, 9, 16), {"idle": REWRITES["channel-idle feed-forward"]})
    assert "not more than half" in _refusal(report, "the module itself")


def _progressive(updates: int) -> nn.Module:
    norm = make(ProgressiveNorm, 16, updates)
    return warmed(nn.Sequential(nn.Linear(5, 16), nn.Tanh(), norm, nn.Linear(16, 3)), noise(6, 9, 5), 12)


def test_a_progressive_norm_is_folded_when_lambda_is_zero() -> None:
    module = _progressive(updates=10)
    folded, report = reparameterize(module, noise(6, 9, 5))
    _equal(module, folded, noise(2, 5, 5))
    assert _names(report) == [("progressive norm", "2"), ("batch norm", "2 + 3")]
    assert [type(each) for each in folded] == [nn.Linear, nn.Tanh, nn.Identity, nn.Linear]


def test_a_progressive_norm_is_refused_while_lambda_is_above_zero() -> None:
    _, report = reparameterize(_progressive(updates=16), noise(6, 9, 5))
    assert "lambda is 0.25 after 12 of 16 updates" in _refusal(report, "2")
    assert not report.applied


def test_lambda_falls_linearly_and_the_modes_agree_at_its_end() -> None:
    norm, seen = ProgressiveNorm(4, updates=4), []
    for _ in range(6):
        seen.append(norm.weight)
        norm(noise(3, 5, 4))
    assert seen == [1.0, 0.75, 0.5, 0.25, 0.0, 0.0]
    x = noise(7, 4)
    frozen = copy.deepcopy(norm)
    frozen.batch_norm.eval()
    torch.testing.assert_close(frozen(x), norm.eval()(x))


def test_the_callers_module_stays_and_training_mode_is_noted() -> None:
    module = warmed(make(CausalNet), noise(3, 17, 5))
    before = {name: value.clone() for name, value in module.state_dict().items()}
    _, report = reparameterize(module, noise(2, 9, 5))
    assert module.training
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert any("training mode" in note for note in report.notes)


class _Tied(nn.Module):
    """Two layers with one weight; only one of them has a norm behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.norm = nn.Linear(4, 4), nn.Linear(4, 4), nn.BatchNorm1d(4)
        self.second.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.relu(self.norm(self.first(x))))


class _ReadTwice(nn.Module):
    """What the layer gives goes past its norm as well; its weight is read past the layer in another."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Linear(4, 4), nn.BatchNorm1d(4)
        self.bare, self.bare_norm = nn.Linear(4, 4), nn.BatchNorm1d(4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        z = torch.tanh(self.norm(y) * torch.sigmoid(y))
        return torch.tanh(self.bare_norm(self.bare(z))) + z @ self.bare.weight


class _StaysInTraining(nn.BatchNorm2d):
    def train(self, mode: bool = True) -> nn.Module:
        return super().train(True)


@pytest.mark.parametrize(
    ("kind", "where", "why"),
    [
        (_Tied, "norm", "weights are shared with"),
        (_ReadTwice, "norm", "also read by operator sigmoid"),
        (_ReadTwice, "bare_norm", "read past the layer"),
    ],
)
def test_a_norm_that_cannot_fold_stays_with_the_reason(kind: type[nn.Module], where: str, why: str) -> None:
    module = warmed(make(kind), noise(9, 4))
    only = {"batch norm": REWRITES["batch norm"]}
    folded, report = reparameterize(module, noise(9, 4), only)
    assert why in _refusal(report, where)
    assert not report.applied
    _equal(module, folded, noise(5, 4))


def test_a_norm_without_statistics_of_its_own_is_refused() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False), nn.ReLU())
    _, report = reparameterize(module, noise(4, 3, 6, 6))
    assert "keeps no running statistics" in _refusal(report, "1")
    assert not report.applied


def test_a_norm_that_stays_in_training_mode_is_refused() -> None:
    assert "stays in training mode" in not_fixed(_StaysInTraining(4).eval())
    with pytest.raises(MutatedBuffer, match="running_mean"):
        reparameterize(nn.Sequential(nn.Conv2d(3, 4, 3), _StaysInTraining(4)), noise(4, 3, 6, 6))


def test_one_layer_used_twice_with_its_norm_folds_once() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.norm = nn.Linear(4, 4), nn.BatchNorm1d(4)

        def forward(self, x: Tensor) -> Tensor:
            return torch.relu(self.norm(self.layer(torch.relu(self.norm(self.layer(x))))))

    module = warmed(make(Twice), noise(9, 4))
    folded, report = reparameterize(module, noise(9, 4), {"batch norm": REWRITES["batch norm"]})
    assert _names(report) == [("batch norm", "layer + norm")]
    _equal(module, folded, noise(5, 4))


def test_a_scale_of_zero_before_padding_is_refused_and_folds_without_padding() -> None:
    for padding, refused in ((1, True), (0, False)):
        layers = (nn.Conv2d(3, 4, 1), nn.ReLU(), nn.BatchNorm2d(4), nn.Conv2d(4, 5, 3, padding=padding))
        module = warmed(make(nn.Sequential, *layers), noise(5, 3, 6, 6))
        module[2].weight.data[1] = 0
        folded, report = reparameterize(module, noise(5, 3, 6, 6))
        assert bool(report.left_alone) == refused
        assert not refused or "scale 0" in _refusal(report, "2")
        _equal(module, folded, noise(2, 3, 5, 5))


def test_a_wrong_fold_is_taken_back() -> None:
    def drop(root: nn.Module, flow: object) -> list[Candidate]:
        return [Candidate("norm", lambda copied: put(copied, "model.1", nn.Identity()))]

    module = warmed(make(nn.Sequential, *conv_norm(3, 4, 3)), noise(5, 3, 6, 6))
    folded, report = reparameterize(module, noise(5, 3, 6, 6), {"drop": drop})
    assert "differ by" in _refusal(report, "norm")
    assert isinstance(folded[1], nn.BatchNorm2d)
    _equal(module, folded, noise(2, 3, 5, 5))


def test_a_rewrite_that_breaks_the_module_is_taken_back() -> None:
    def shrink(root: nn.Module, flow: object) -> list[Candidate]:
        return [Candidate("conv", lambda copied: put(copied, "model.0", nn.Conv2d(3, 2, 1)))]

    module = make(nn.Sequential, *conv_norm(3, 4, 3))
    _, report = reparameterize(module, noise(5, 3, 6, 6), {"shrink": shrink})
    assert "raised" in _refusal(report, "conv")


@pytest.mark.parametrize("value", [0.0, 0.5])
def test_a_norm_before_padding_folds_only_beside_zeros(value: float) -> None:
    class Padded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.conv = nn.BatchNorm1d(4), nn.Conv1d(4, 5, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(nn.functional.pad(self.norm(torch.relu(x)), (2, 0), value=value))

    module = warmed(make(Padded), noise(6, 4, 9))
    folded, report = reparameterize(module, noise(6, 4, 9))
    assert bool(report.applied) == (value == 0)
    assert value == 0 or "constant_pad_nd with a number reads it" in _refusal(report, "norm")
    _equal(module, folded, noise(2, 4, 5))


def test_a_rewrite_that_cannot_read_the_module_leaves_it_alone() -> None:
    def broken(root: nn.Module, flow: object) -> list[Candidate]:
        raise AttributeError("no such weight")

    module = make(nn.Sequential, *conv_norm(3, 4, 3))
    folded, report = reparameterize(module, noise(5, 3, 6, 6), {"broken": broken})
    assert "no such weight" in _refusal(report, "the module itself")
    _equal(module, folded, noise(2, 3, 5, 5))
