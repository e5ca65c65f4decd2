"""The Legendre memory: its matrices against exact arithmetic, its two forms, and that it remembers."""

import math
from fractions import Fraction

import pytest
import torch

from millstream_models.lmuformer.memory import LegendreMemory, continuous_memory, discretize, impulse_response


def _exact_continuous(order, theta):
    """A and B by the paper's formula, in fractions."""
    a = [
        [Fraction(2 * i + 1, theta) * (-1 if i < j else (-1) ** (i - j + 1)) for j in range(order)]
        for i in range(order)
    ]
    return a, [Fraction(2 * i + 1, theta) * (-1) ** i for i in range(order)]


def _exact_series(order, theta, terms=40):
    """sum A^k / k! and sum A^k B / (k + 1)!, which are e^A and A^-1 (e^A - I) B."""
    a, b = _exact_continuous(order, theta)
    power = [[Fraction(i == j) for j in range(order)] for i in range(order)]
    exponential = [[Fraction(0)] * order for _ in range(order)]
    integral = [Fraction(0)] * order
    for k in range(terms):
        for i in range(order):
            driven = sum(power[i][j] * b[j] for j in range(order))
            integral[i] += driven / math.factorial(k + 1)
            for j in range(order):
                exponential[i][j] += power[i][j] / math.factorial(k)
        power = [
            [sum(power[i][n] * a[n][j] for n in range(order)) for j in range(order)] for i in range(order)
        ]
    floats = [[float(value) for value in row] for row in exponential]
    return torch.tensor(floats, dtype=torch.float64), torch.tensor(
        list(map(float, integral)), dtype=torch.float64
    )


@pytest.mark.parametrize(("order", "theta"), [(1, 3), (4, 8), (6, 4)])
def test_zero_order_hold_equals_the_series_in_exact_arithmetic(order, theta):
    transition, input_matrix = discretize(*continuous_memory(order, theta))
    exact_transition, exact_input = _exact_series(order, theta)
    # Float64 keeps 16 digits; the matrices of these orders lose at most two of them.
    torch.testing.assert_close(transition, exact_transition, rtol=0, atol=1e-14)
    torch.testing.assert_close(input_matrix, exact_input, rtol=0, atol=1e-14)


def test_zero_order_hold_at_the_papers_order_equals_a_scaled_float64_series():
    """At order 256 the plain series overflows its digits, so half the exponent ten times, then square."""
    a, b = continuous_memory(256, 128.0)
    augmented = torch.zeros(257, 257, dtype=torch.float64)
    augmented[:256, :256], augmented[:256, 256] = a, b
    scaled, term = augmented / 2**10, torch.eye(257, dtype=torch.float64)
    series = term.clone()
    for k in range(1, 24):
        term = term @ scaled / k
        series += term
    for _ in range(10):
        series = series @ series
    transition, input_matrix = discretize(a, b)
    # The memory runs in float32, whose rounding is 6e-8: both ways must agree far below that.
    torch.testing.assert_close(transition, series[:256, :256], rtol=0, atol=1e-11)
    torch.testing.assert_close(input_matrix, series[:256, 256], rtol=0, atol=1e-11)


@pytest.mark.parametrize("length", [1, 2, 3, 5, 7, 29, 128])
def test_impulse_response_is_the_repeated_product(length):
    memory = LegendreMemory(16, 20.0).double()
    column, columns = memory.input_matrix, []
    for _ in range(length):
        columns.append(column)
        column = memory.transition @ column
    response = impulse_response(memory.transition, memory.input_matrix, length)
    torch.testing.assert_close(response, torch.stack(columns, 1), rtol=0, atol=1e-13)


@pytest.mark.parametrize("length", [1, 2, 3, 5, 7, 29])
def test_parallel_form_equals_the_recurrence(length):
    memory = LegendreMemory(16, 20.0).double()
    u = torch.rand(3, length, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(length))
    state, streamed = torch.zeros(3, 16, dtype=torch.float64), []
    for t in range(length):
        state = memory.step(u[:, t], state)
        streamed.append(state)
    torch.testing.assert_close(memory(u), torch.stack(streamed, 1), rtol=0, atol=1e-13)


def test_memory_gives_back_what_came_theta_frames_ago():
    """All Legendre polynomials are 1 at the far end of the window: the plain sum of m is u[t - theta]."""
    theta, frames = 100, 600
    u = torch.sin(2 * torch.pi * torch.arange(frames, dtype=torch.float64) / 200)
    m = LegendreMemory(12, float(theta)).double()(u.view(1, frames, 1))[0]
    recalled = m.sum(dim=1)
    # The zero-order hold delays by half a frame, 1.6 % of this sine; 12 coefficients add well below that.
    torch.testing.assert_close(recalled[2 * theta :], u[theta : frames - theta], rtol=0, atol=0.02)


def test_memory_matrices_are_neither_trained_nor_stored():
    memory = LegendreMemory(8, 10.0)
    assert not list(memory.parameters())
    assert not memory.state_dict()
