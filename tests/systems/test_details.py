"""What single systems promise beyond being one function in both forms."""

import copy

import pytest
import torch
from systems import frames, moved, stepped, untrained

from millstream_models.core.forms import SEQUENCE, STEP
from millstream_models.core.naive import silu
from millstream_models.core.parts.checkpoints import CacheFull
from millstream_models.core.parts.mixture import MixtureOfExperts
from millstream_models.core.parts.partial_softmax import attend, finish, merge
from millstream_models.hgrn2 import lower_bounds
from millstream_models.lightning import lightning_decays
from millstream_models.s4 import S4
from millstream_models.s4.hippo import legendre
from millstream_models.scout import Scout


def random(seed, *shape):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_every_spike_of_the_step_is_the_spike_of_the_parallel_graph():
    """The memory goes by FFT in one and by the recurrence in the other; no sum may cross its threshold."""
    model, x = copy.deepcopy(moved("spiking_lmuformer")), frames(200, batch=3)
    # A random memory is too small to reach its threshold: loud enough, every group of neurons fires.
    model.norms["memory"].weight.mul_(30)
    model.norms["drive"].bias.add_(1.5)
    _, _, expected = model.traced(x, model.initial_state(3), SEQUENCE)
    state, seen = model.initial_state(3), []
    for frame in x.unbind(1):
        _, state, spikes = model.traced(frame, state, STEP)
        seen.append(spikes)
    for name, whole in expected.items():
        assert torch.equal(torch.stack([spikes[name] for spikes in seen], 1), whole), name
        assert set(whole.unique().tolist()) <= {0.0, 1.0}
    assert all(0 < spikes.mean() < 1 for spikes in expected.values())


def test_float32_fires_almost_every_spike_of_float64():
    model, x = moved("spiking_lmuformer"), frames(200, batch=3)
    _, _, expected = model.traced(x, model.initial_state(3), SEQUENCE)
    narrow = untrained("spiking_lmuformer")
    narrow.load_state_dict(model.state_dict())
    _, _, found = narrow.traced(x.float(), narrow.initial_state(3), SEQUENCE)
    same = [(found[name] == expected[name]).float().mean() for name in expected]
    assert min(same) > 0.99


def test_attention_over_parts_is_attention_over_all():
    q, keys, values = random(1, 2, 3, 4), 30 * random(2, 2, 9, 3, 4), random(3, 2, 9, 3, 5)
    visible = torch.ones(2, 9, dtype=torch.bool)
    weights = torch.softmax(torch.einsum("bhk,bwhk->bhw", q, keys), -1)
    expected = torch.einsum("bhw,bwhv->bhv", weights, values)
    cuts = [(0, 2), (2, 3), (3, 9)]
    parts = [attend(q, keys[:, a:b], values[:, a:b], visible[:, a:b]) for a, b in cuts]
    for first, second, third in ((0, 1, 2), (2, 0, 1)):
        merged = merge(parts[first], merge(parts[second], parts[third]))
        torch.testing.assert_close(finish(merged), expected, rtol=0, atol=1e-13)
    # A part of which nothing is visible adds nothing, whatever stands in it.
    nothing = attend(q, 1e9 * keys, values, ~visible)
    torch.testing.assert_close(
        finish(merge(nothing, attend(q, keys, values, visible))), expected, rtol=0, atol=1e-13
    )


def test_a_mixture_is_its_two_best_experts_weighted_by_their_scores():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        mixture = MixtureOfExperts(6, 5, experts=4, used=2).double()
    x = random(8, 7, 6)
    for frame, found in zip(x, mixture(x), strict=True):
        scores = mixture.router.weight @ frame
        best = sorted(range(4), key=lambda e: -float(scores[e]))[:2]
        shares = torch.exp(scores[best]) / torch.exp(scores[best]).sum()
        parts = [mixture.down[e] @ silu(mixture.up[e] @ frame) for e in best]
        expected = shares[0] * parts[0] + shares[1] * parts[1]
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-13)


def small_scout():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Scout(8, heads=1, every=3, slots=2).double()


def test_a_bounded_cache_serves_its_frames_and_then_says_what_to_do():
    model, x = small_scout(), random(4, 1, 10, 8)
    _, state = stepped(model, x[:, :9])
    with pytest.raises(
        CacheFull, match="frame 9: the cache holds 2 segments of 3 frames, so a stream may have 9"
    ):
        model.step(x[:, 9], state)
    with pytest.raises(CacheFull):
        model.prefill(x, model.initial_state(1))


def test_an_exported_step_marks_what_a_full_cache_would_get_wrong():
    model, x = small_scout(), random(4, 1, 10, 8)
    _, state = stepped(model, x[:, :9])
    program = torch.export.export(_Step(model), (x[:, 0], model.initial_state(1)))
    inside, _ = program.module()(x[:, 8], stepped(model, x[:, :8])[1])
    beyond, _ = program.module()(x[:, 9], state)
    assert inside.isfinite().all()
    assert beyond.isnan().all()


class _Step(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x, state):
        return self.model.step(x, state)


def test_lower_bounds_rise_from_zero_with_depth_and_stay_below_one():
    bounds = lower_bounds(random(5, 6, 9))
    assert torch.equal(bounds[0], torch.zeros(9, dtype=torch.float64))
    assert (bounds.diff(dim=0) > 0).all()
    assert (bounds < 1).all()


def test_lightning_never_fades_its_first_head_and_fades_less_in_deep_layers():
    assert lightning_decays(8, 0, 4)[0] == 1
    assert all(a > b for a, b in zip(lightning_decays(8, 0, 4), lightning_decays(8, 0, 4)[1:], strict=False))
    assert all(a <= b for a, b in zip(lightning_decays(8, 0, 4), lightning_decays(8, 3, 4), strict=True))


def test_a_bounded_state_stays_within_its_values():
    """Every row of HGRN2's state is a blend of values."""
    model = moved("hgrn2")
    x = 5 * frames(300)
    _, state = model.prefill(x, model.initial_state(2))
    mixer, hidden = model.blocks[0].mixer, model.blocks[0].mixer_norm(model.inlet(x))
    assert state["memory_0"].abs().max() <= mixer.v(hidden).abs().max()


def test_a_reflection_keeps_the_length_of_what_it_reflects():
    """Strength 2, keys of length 1, nothing written: the state is turned for ever and never grows."""
    k = torch.nn.functional.normalize(random(6, 1, 5000, 1, 6), dim=-1).float()
    zero, two, one = torch.zeros(1, 5000, 1, 4), torch.full((1, 5000, 1, 1), 2.0), torch.ones(1, 5000, 1, 1)
    start = random(7, 1, 1, 4, 6).float()
    _, state = SEQUENCE.delta(k, k, zero, two, one, start)
    # Ten thousand products in float32, each off by 6e-8 at most.
    torch.testing.assert_close(state.norm(), start.norm(), rtol=6e-4, atol=0)


def test_s4_begins_as_the_recurrence_of_legendre_coefficients():
    """The real, dense HiPPO matrix under the bilinear rule, read along p, against diagonal plus rank one."""
    order, length = 12, 60
    n = torch.arange(order, dtype=torch.float64)
    p, b = torch.sqrt(n + 0.5), torch.sqrt(2 * n + 1)
    matrix = -torch.tril(torch.outer(b, b), -1) - torch.diag(n + 1)
    mixer = S4(1, order).double()
    with torch.no_grad():
        mixer.frequency.copy_(legendre(order)[0])
        mixer.factor.copy_(legendre(order)[1])
        mixer.drive.copy_(torch.view_as_real(legendre(order)[2]))
        mixer.log_damping.fill_(0.5).log_()
        mixer.read.copy_(torch.stack((mixer.factor, torch.zeros(order // 2)), -1))
        half, one = float(torch.exp(mixer.log_step)) / 2, torch.eye(order, dtype=torch.float64)
        before = torch.linalg.inv(one - half * matrix)
        u, state, expected = random(3, length), torch.zeros(order, dtype=torch.float64), []
        for sample in u:
            state = before @ (one + half * matrix) @ state + 2 * half * (before @ b) * sample
            expected.append(p @ state)
        past = mixer.initial_state(1)
        found, *_ = SEQUENCE.oscillate_coupled(u.view(1, length, 1), *mixer._discrete(), *past.values())
    torch.testing.assert_close(found.flatten(), torch.stack(expected), rtol=0, atol=1e-10)
