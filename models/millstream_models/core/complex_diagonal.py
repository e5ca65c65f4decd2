"""One step of a time-invariant recurrence that is diagonal and complex, kept as real and imaginary parts."""

import torch
from torch import Tensor


@torch.library.custom_op("millstream::complex_diagonal", mutates_args=())
def complex_diagonal(
    u: Tensor,
    real: Tensor,
    imaginary: Tensor,
    read_real: Tensor,
    read_imaginary: Tensor,
    past_real: Tensor,
    past_imaginary: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """x' = a x + u for N complex numbers per channel, and y = Re(sum_n c x') of them.

    Args:
        u: the new frame, (B, C), real.
        real, imaginary: the parts of the transition a, (C, N).
        read_real, read_imaginary: the parts of c, (C, N).
        past_real, past_imaginary: the parts of x before the step, (B, C, N).

    Returns:
        y (B, C), and the parts of x after the step (B, C, N).
    """
    present_real = real * past_real - imaginary * past_imaginary + u.unsqueeze(-1)
    present_imaginary = real * past_imaginary + imaginary * past_real
    y = (read_real * present_real - read_imaginary * present_imaginary).sum(-1)
    return y, present_real, present_imaginary


@complex_diagonal.register_fake
def _shapes(
    u: Tensor,
    real: Tensor,
    imaginary: Tensor,
    read_real: Tensor,
    read_imaginary: Tensor,
    past_real: Tensor,
    past_imaginary: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    return (
        u.new_empty(u.shape),
        past_real.new_empty(past_real.shape),
        past_imaginary.new_empty(past_imaginary.shape),
    )
