"""The log-mel front end: its definition, its stream, and what it does with a tone and with silence."""

import math

import pytest
import torch

from millstream_models.keyword_spotter.log_mel import FLOOR, LogMel, hertz, mel, mel_triangles
from millstream_models.keyword_spotter.naive import naive

RATE, LOW, HIGH = 8000, 150.0, 3700.0


@pytest.fixture
def front():
    """Windows of three hops of 14 samples, six bands, float64."""
    front = LogMel(RATE, 14, 3, 6, LOW, HIGH)
    return front.double()


def samples(length, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, length, 14, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("length", [1, 2, 5])
def test_the_layer_is_its_definition(length):
    torch.set_default_dtype(torch.float64)
    try:
        front = LogMel(RATE, 14, 3, 6, LOW, HIGH)
    finally:
        torch.set_default_dtype(torch.float32)
    x = samples(length)
    expected = torch.stack([naive(front, RATE, LOW, HIGH, row) for row in x])
    torch.testing.assert_close(front(x), expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize("cut", [1, 2, 3, 8])
def test_hops_one_by_one_and_in_stretches_are_the_whole(front, cut):
    x = samples(11)
    state, streamed = front.initial_state(2), []
    for stretch in (x[:, :cut], x[:, cut:]):
        y, state = front.prefill(stretch, state)
        streamed.append(y)
    torch.testing.assert_close(torch.cat(streamed, 1), front(x), rtol=0, atol=1e-12)
    state, streamed = front.initial_state(2), []
    for frame in x.unbind(1):
        y, state = front.step(frame, state)
        streamed.append(y)
    torch.testing.assert_close(torch.stack(streamed, 1), front(x), rtol=0, atol=1e-12)


def test_silence_is_the_floor(front):
    silent = front(torch.zeros(1, 3, 14, dtype=torch.float64))
    torch.testing.assert_close(silent, torch.full_like(silent, math.log(FLOOR)), rtol=0, atol=1e-12)


def test_a_tone_is_loudest_in_its_own_band_and_twice_the_sound_is_four_times_the_energy():
    front = LogMel(RATE, 160, 2, 32, 80.0, 3900.0).double()
    corners = hertz(torch.linspace(float(mel(torch.tensor(80.0))), float(mel(torch.tensor(3900.0))), 34))
    for band in (3, 15, 30):
        tone = torch.sin(2 * math.pi * corners[band + 1] / RATE * torch.arange(640)).double().view(1, 4, 160)
        energies = front(tone)[0, -1]
        assert int(energies.argmax()) == band
        louder = front(2 * tone)[0, -1]
        assert float(louder[band] - energies[band]) == pytest.approx(math.log(4), abs=1e-4)


def test_neighbouring_triangles_share_every_frequency_between_them():
    triangles = mel_triangles(RATE, 320, 32, 80.0, 3900.0)
    frequency = torch.arange(161) * RATE / 320
    corners = hertz(torch.linspace(float(mel(torch.tensor(80.0))), float(mel(torch.tensor(3900.0))), 34))
    inside = (frequency >= corners[1] + 1) & (frequency <= corners[-2] - 1)
    torch.testing.assert_close(
        triangles.sum(1)[inside], torch.ones(int(inside.sum())).double(), atol=1e-4, rtol=0
    )
    assert not triangles[(frequency < 79) | (frequency > 3901)].any()


def test_the_matrices_follow_from_the_sizes_and_are_not_stored(front):
    assert not front.state_dict()
    assert not list(front.parameters())
