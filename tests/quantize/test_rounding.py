"""Weights as small integers: what each way of rounding promises."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hn

from millstream.quantize.feedback import to_int4_with_feedback
from millstream.quantize.rounding import (
    LARGEST_INT4,
    Rounded,
    nearest,
    to_int4,
    to_int8,
    to_int16,
    to_ternary,
)

WEIGHTS = hn.arrays(
    np.float32, hn.array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.floats(-1024, 1024, width=32)
)


def _restored(rounded: Rounded, channel: int) -> np.ndarray:
    return rounded.values * (rounded.scale if channel == 1 else rounded.scale[:, None])


@pytest.mark.parametrize(("rounding", "largest"), [(to_int8, 127), (to_int4, 7), (to_ternary, 1)])
@given(weight=WEIGHTS, channel=st.sampled_from([0, 1]))
def test_values_and_scales_are_in_range(rounding, largest: int, weight: np.ndarray, channel: int) -> None:
    rounded = rounding(weight, channel)
    assert rounded.values.dtype == np.int8
    assert np.abs(rounded.values.astype(int)).max() <= largest
    assert rounded.scale.dtype == np.float32
    assert rounded.scale.shape == (weight.shape[channel],)
    assert np.isfinite(rounded.scale).all()


@given(weight=WEIGHTS, channel=st.sampled_from([0, 1]))
def test_int8_is_half_a_step_away_at_most(weight: np.ndarray, channel: int) -> None:
    rounded = to_int8(weight, channel)
    scale = rounded.scale if channel == 1 else rounded.scale[:, None]
    # Half a step, and the roundings of the scale and of the division.
    allowed = 0.5 * scale * (1 + 1e-4) + np.finfo(np.float32).tiny
    assert (np.abs(_restored(rounded, channel) - weight) <= allowed).all()


def test_int4_gives_up_the_largest_weights_where_that_is_better() -> None:
    weight = np.random.default_rng(0).standard_t(4, (256, 16)).astype(np.float32)
    whole = nearest(weight, np.abs(weight).max(0, keepdims=True) / np.float32(LARGEST_INT4), LARGEST_INT4)
    errors = [np.square(_restored(each, 1) - weight).sum() for each in (to_int4(weight, 1), whole)]
    assert errors[0] < 0.8 * errors[1]


def test_ternary_weights_come_through_exactly() -> None:
    rng = np.random.default_rng(1)
    weight = rng.choice([-1, 0, 0, 1], (33, 20)).astype(np.float32) * np.float32(0.037)
    rounded = to_ternary(weight, 1)
    np.testing.assert_allclose(_restored(rounded, 1), weight, rtol=1e-6)


@pytest.mark.parametrize("channel", [0, 1])
def test_feedback_lets_products_err_less(channel: int) -> None:
    rng = np.random.default_rng(2)
    # Inputs that move together: eight causes behind sixty-four.
    inputs = rng.standard_normal((500, 8)) @ rng.standard_normal((8, 64)) + rng.normal(0, 0.1, (500, 64))
    weight = rng.standard_normal((64, 24)).astype(np.float32)
    given_ = weight if channel == 1 else weight.T
    want = inputs @ weight

    def error(rounded: Rounded) -> float:
        restored = _restored(rounded, channel)
        return float(np.square(inputs @ (restored if channel == 1 else restored.T) - want).mean())

    fed_back = to_int4_with_feedback(given_, channel, inputs.T @ inputs)
    assert error(fed_back) < 0.3 * error(to_int4(given_, channel))


def test_no_moments_no_feedback() -> None:
    weight = np.random.default_rng(3).standard_normal((16, 8)).astype(np.float32)
    alone, fed_back = to_int4(weight, 1), to_int4_with_feedback(weight, 1, np.zeros((16, 16)))
    np.testing.assert_array_equal(fed_back.values, alone.values)


@pytest.mark.parametrize("rounding", [to_int8, to_int16, to_int4])
@pytest.mark.parametrize("channel", [0, 1])
def test_a_channel_that_is_ternary_is_exact_and_others_are_as_ever(rounding, channel: int) -> None:
    rng = np.random.default_rng(0)
    size = rng.uniform(0.1, 9, 8).astype(np.float32)
    weight = rng.choice(np.float32([-1, 0, 1]), (40, 8)) * size
    weight[:, 3] = rng.standard_normal(40)
    turned = weight if channel else np.ascontiguousarray(weight.T)
    found = rounding(turned, channel)
    values = found.values if channel else found.values.T
    ternary = np.arange(8) != 3
    assert np.abs(values[:, ternary]).max() == 1
    assert np.array_equal(
        _restored(found, channel)[(slice(None), ternary) if channel else ternary],
        turned[(slice(None), ternary) if channel else ternary],
    )
    assert np.abs(values[:, 3].astype(int)).max() > 1


def test_groups_have_whole_multiples_of_one_scale() -> None:
    """The scale of a group is met to half a unit of the channel's, of which the largest group has 255."""
    rng = np.random.default_rng(1)
    weight = rng.standard_normal((100, 8)) * np.repeat([1, 20, 0.3, 0], [34, 34, 32, 0][:4])[:, None]
    weight[:34, 5] = 0
    found = to_int4_with_feedback(weight.astype(np.float32), 1, np.zeros((100, 100)), 3)
    assert found.factors is not None
    assert found.factors.dtype == np.uint8
    assert found.factors.shape == (3, 8)
    assert (found.factors.max(0) == 255).all()
    assert found.factors.min() >= 1
    steps = found.steps(1)
    assert (steps[:34] == steps[0]).all()
    assert (steps[68:] == steps[-1]).all()
    assert not found.values[:34, 5].any()
    # Steps of int4 are wide: a value within the range is half of one away at most.
    inside = np.abs(weight) <= LARGEST_INT4 * steps
    assert (np.abs(found.values * steps - weight)[inside] <= 0.5001 * steps[inside]).all()
