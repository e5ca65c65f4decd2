"""One step of a convolution over time that keeps channels apart, with its past frames as explicit state."""

import torch
from torch import Tensor


@torch.library.custom_op("millstream::causal_depthwise_ring", mutates_args=())
def causal_depthwise_ring(x: Tensor, weight: Tensor, bias: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
    """Convolve the newest K frames, each channel by itself: y = sum_k weight[k] * window[k] + bias.

    Args:
        x: the new frame, (B, C).
        weight: (K, C) with K > 1, the oldest tap first.
        bias: (C,).
        past: the K - 1 frames before `x`, oldest first, (B, K - 1, C).

    Returns:
        The output frame (B, C), and the ring for the next step (B, K - 1, C).
    """
    window = torch.cat((past, x.unsqueeze(1)), dim=1)
    return (window * weight).sum(1) + bias, window[:, 1:].contiguous()


@causal_depthwise_ring.register_fake
def _shapes(x: Tensor, weight: Tensor, bias: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape), past.new_empty(past.shape)
