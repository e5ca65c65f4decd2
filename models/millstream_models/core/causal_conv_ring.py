"""One step of a convolution over time, with the past frames of its kernel as explicit state."""

import torch
from torch import Tensor
from torch.nn import functional


@torch.library.custom_op("millstream::causal_conv_ring", mutates_args=())
def causal_conv_ring(x: Tensor, weight: Tensor, bias: Tensor | None, past: Tensor) -> tuple[Tensor, Tensor]:
    """Convolve the newest K frames: y = sum_k weight[:, k, :] @ window[k] + bias.

    The window is the ring `past`, oldest frame first, followed by the new frame `x`. The weight is
    stored (O, K, C), not torch's (O, C, K): the window is contiguous in that order, so a step is one
    matrix-vector product over K * C numbers.

    Args:
        x: the new frame, (B, C).
        weight: (O, K, C) with K > 1; with K = 1 there is no ring and an ordinary linear layer serves.
        bias: (O,) or None.
        past: the K - 1 frames before `x`, (B, K - 1, C).

    Returns:
        The output frame (B, O), and the ring for the next step (B, K - 1, C).
    """
    window = torch.cat((past, x.unsqueeze(1)), dim=1)
    y = functional.linear(window.flatten(1), weight.flatten(1), bias)
    return y, window[:, 1:].contiguous()


@causal_conv_ring.register_fake
def _shapes(x: Tensor, weight: Tensor, bias: Tensor | None, past: Tensor) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape[0], weight.shape[0]), past.new_empty(past.shape)
