"""The Legendre memory: a linear recurrence that holds a sliding window of one scalar signal.

Source of the maths: Voelker, Kajic and Eliasmith, "Legendre Memory Units" (NeurIPS 2019); parallel
form: Chilkuri and Eliasmith, "Parallelizing Legendre Memory Unit Training" (ICML 2021).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from millstream_models.core import linear_memory


def continuous_memory(order: int, theta: float) -> tuple[Tensor, Tensor]:
    """A (order, order) and B (order,) of dm/dt = A m + B u for a window of `theta` frames, float64."""
    row = torch.arange(order, dtype=torch.float64).unsqueeze(1)
    column = row.T
    rate = (2 * row + 1) / theta
    sign = torch.where(row < column, -1.0, _minus_one_to(row - column + 1))
    return rate * sign, (rate * _minus_one_to(row)).squeeze(1)


def discretize(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Zero-order hold over one frame: transition e^A (Q, Q) and input matrix A^-1 (e^A - I) B (Q,).

    Both are blocks of one exponential, e^[[A, B], [0, 0]], which needs no inverse of A. The result has
    the dtype of `a`; use float64, as the entries of A grow with the order.
    """
    order = b.shape[0]
    augmented = a.new_zeros(order + 1, order + 1)
    augmented[:order, :order] = a
    augmented[:order, order] = b
    exponential = torch.linalg.matrix_exp(augmented)
    return exponential[:order, :order].contiguous(), exponential[:order, order].contiguous()


def impulse_response(transition: Tensor, input_matrix: Tensor, length: int) -> Tensor:
    """Columns input_matrix, transition @ input_matrix, transition^2 @ ..., as (Q, length).

    Doubling needs log2(length) products; float64 keeps the squared powers as good as single steps.
    """
    power = transition.double()
    response = input_matrix.double().unsqueeze(1)
    while response.shape[1] < length:
        response = torch.cat((response, power @ response), dim=1)
        power = power @ power
    return response[:, :length].to(transition.dtype)


class LegendreMemory(nn.Module):
    """m[t] = transition @ m[t-1] + input_matrix * u[t], with m[-1] = 0.

    The matrices are not trained and follow from `order` and `theta`, so a checkpoint leaves them out.
    The transition must stay dense: its eigenvectors are so ill conditioned (about 1e15 at order 256)
    that a diagonal form loses every digit.
    """

    transition: Tensor
    input_matrix: Tensor

    def __init__(self, order: int, theta: float) -> None:
        super().__init__()
        transition, input_matrix = discretize(*continuous_memory(order, theta))
        dtype = torch.get_default_dtype()
        self.register_buffer("transition", transition.to(dtype), persistent=False)
        self.register_buffer("input_matrix", input_matrix.to(dtype), persistent=False)

    def forward(self, u: Tensor) -> Tensor:
        """The memory at every frame, by one FFT convolution: (B, T, 1) -> (B, T, Q)."""
        length = u.shape[1]
        response = impulse_response(self.transition, self.input_matrix, length).T
        # Twice the length: the product of spectra is a circular convolution.
        spectrum = torch.fft.rfft(u, n=2 * length, dim=1) * torch.fft.rfft(response, n=2 * length, dim=0)
        return torch.fft.irfft(spectrum, n=2 * length, dim=1)[:, :length]

    def step(self, u: Tensor, past: Tensor) -> Tensor:
        """The memory after one more frame: u (B, 1), past (B, Q) -> (B, Q)."""
        return linear_memory(u, self.transition, self.input_matrix, past)


def _minus_one_to(exponent: Tensor) -> Tensor:
    return 1.0 - 2.0 * (exponent % 2)
