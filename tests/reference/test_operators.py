"""Corners of single operators that the official cases leave open."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from one_node import run

from millstream.errors import UnsupportedModel, UnsupportedOperators


def test_integer_division_truncates_towards_zero() -> None:
    a, b = np.array([7, -7, 7, -7], np.int32), np.array([2, 2, -2, -2], np.int32)
    np.testing.assert_array_equal(run("Div", a, b)[0], [3, -3, -3, 3])


def test_remainder_has_the_sign_of_divisor_or_dividend() -> None:
    a, b = np.array([7, -7, 7, -7], np.int32), np.array([3, 3, -3, -3], np.int32)
    np.testing.assert_array_equal(run("Mod", a, b)[0], [1, 2, -2, -1])
    np.testing.assert_array_equal(run("Mod", a, b, fmod=1)[0], [1, -1, 1, -1])


def test_power_keeps_the_dtype_of_its_base() -> None:
    (y,) = run("Pow", np.array([2, 3], np.int32), np.array([0.5, 2.0], np.float32))
    assert y.dtype == np.int32
    np.testing.assert_array_equal(y, [1, 9])


def test_float16_is_summed_wide_and_rounded_once() -> None:
    # In float16, 2048 + 1 is 2048: a sum kept in float16 would never get past it.
    (y,) = run("ReduceSum", np.ones(4096, np.float16), keepdims=0)
    assert y.dtype == np.float16
    assert y == 4096


def test_matmul_is_more_precise_than_float32() -> None:
    row = np.array([[1e8, 1.0, -1e8]], np.float32)
    assert run("MatMul", row, np.ones((3, 1), np.float32))[0].item() == 1.0


def test_slice_backwards_past_the_first_element() -> None:
    x = np.arange(5)
    minimum = np.array([np.iinfo(np.int64).min])
    (y,) = run("Slice", x, np.array([-1]), minimum, np.array([0]), np.array([-2]))
    np.testing.assert_array_equal(y, [4, 2, 0])


def test_negative_pads_crop() -> None:
    (y,) = run("Pad", np.arange(6), np.array([-2, 1]), np.array(9))
    np.testing.assert_array_equal(y, [2, 3, 4, 5, 9])


def test_top_k_takes_the_lower_index_first_among_equals() -> None:
    x = np.array([1, 3, 2, 3, 1, 3], np.uint8)
    _, largest = run("TopK", x, np.array([3]), results=2)
    _, smallest = run("TopK", x, np.array([2]), results=2, largest=0)
    np.testing.assert_array_equal(largest, [1, 3, 5])
    np.testing.assert_array_equal(smallest, [0, 4])


def test_clip_with_crossed_bounds_gives_the_upper() -> None:
    (y,) = run("Clip", np.array([0.0, 5.0], np.float32), np.float32(4), np.float32(2))
    np.testing.assert_array_equal(y, [2, 2])


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint16, ml_dtypes.int4, ml_dtypes.uint4])
def test_quantization_saturates_and_rounds_to_even(dtype: type) -> None:
    limits = ml_dtypes.iinfo(dtype)
    x = np.array([0.25, 0.75, -1e9, 1e9, -np.inf, np.inf], np.float32)
    (q,) = run("QuantizeLinear", x, np.float32(0.5), np.array(2, dtype))
    expected = [2, 4, limits.min, limits.max, limits.min, limits.max]
    np.testing.assert_array_equal(q.astype(int), expected)
    (back,) = run("DequantizeLinear", q, np.float32(0.5), np.array(2, dtype))
    np.testing.assert_array_equal(back, (np.array(expected, np.float32) - 2) * np.float32(0.5))


def test_blocked_quantization_reads_one_scale_per_block() -> None:
    q = np.arange(10, dtype=np.int8).reshape(2, 5)
    scale = np.array([[1, 10, 100], [2, 20, 200]], np.float32)
    (y,) = run("DequantizeLinear", q, scale, axis=1, block_size=2)
    expected = [[0, 1, 20, 30, 400], [10, 12, 140, 160, 1800]]
    np.testing.assert_array_equal(y, np.array(expected, np.float32))


def test_zero_points_may_differ_by_row_and_column() -> None:
    a, b = np.array([[5, 6], [7, 8]], np.uint8), np.array([[1, 2], [3, 4]], np.uint8)
    (y,) = run("MatMulInteger", a, b, np.array([5, 7], np.uint8), np.array([1, 2], np.uint8))
    np.testing.assert_array_equal(y, np.array([[0, 1], [0, 1]]) @ np.array([[0, 0], [2, 2]]))


def _gate_weights(gates: int) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(gates).standard_normal
    return draw((1, gates * 2, 3)).astype(np.float32), draw((1, gates * 2, 2)).astype(np.float32)


@pytest.mark.parametrize(("operator", "gates"), [("LSTM", 4), ("GRU", 3), ("RNN", 1)])
def test_a_short_sequence_keeps_its_state_and_puts_out_zeros(operator: str, gates: int) -> None:
    w, r = _gate_weights(gates)
    x = np.random.default_rng(0).standard_normal((5, 2, 3)).astype(np.float32)
    y, last = run(operator, x, w, r, None, np.array([5, 3], np.int32), results=2, hidden_size=2)
    short_y, short_last = run(operator, x[:3, 1:], w, r, results=2, hidden_size=2)
    np.testing.assert_array_equal(y[:3, :, 1:], short_y)
    np.testing.assert_array_equal(y[3:, :, 1], 0)
    np.testing.assert_array_equal(last[:, 1:], short_last)


def test_clip_bounds_what_goes_into_an_activation() -> None:
    w, r = _gate_weights(1)
    x = np.full((1, 1, 3), 100, np.float32)
    (y,) = run("RNN", x, w, r, hidden_size=2, activations=["Relu"], clip=0.5)
    assert set(np.unique(y)) <= {0.0, 0.5}
    assert 0.5 in y


def test_training_modes_are_refused() -> None:
    x, one = np.ones((2, 3), np.float32), np.ones(3, np.float32)
    with pytest.raises(UnsupportedModel, match="eval"):
        run("BatchNormalization", x, one, one, one, one, training_mode=1)
    with pytest.raises(UnsupportedModel, match="eval"):
        run("Dropout", x, np.float32(0.5), np.array(True))


def test_activation_parameters_of_recurrent_layers_are_refused_by_name() -> None:
    w, r = _gate_weights(1)
    with pytest.raises(UnsupportedOperators, match="activation_alpha"):
        run("RNN", np.ones((1, 1, 3), np.float32), w, r, activation_alpha=[0.5])
