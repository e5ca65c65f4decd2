"""One step of a linear recurrence whose state is one matrix per head."""

import torch
from torch import Tensor


@torch.library.custom_op("millstream::linear_recurrence", mutates_args=())
def linear_recurrence(q: Tensor, k: Tensor, v: Tensor, decay: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
    """Decay the state, write one outer product into it, and read it: S' = S diag(decay) + v kᵀ, o = S' q.

    The state lies with the value's axis first, so that a read is one dot product over neighbours.

    Args:
        q, k: what reads and what is written under, (B, H, K); (B, 1, K) where all heads share them.
        v: what is written, (B, H, V).
        decay: one factor per key channel, (B, H, K), or one per head, (B, H, 1); of any sign.
        past: the state before the step, (B, H, V, K).

    Returns:
        The read (B, H, V), and the state after the step (B, H, V, K).
    """
    present = past * decay.unsqueeze(-2) + v.unsqueeze(-1) * k.unsqueeze(-2)
    return torch.matmul(present, q.unsqueeze(-1)).squeeze(-1), present


@linear_recurrence.register_fake
def _shapes(q: Tensor, k: Tensor, v: Tensor, decay: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
    return v.new_empty(v.shape), past.new_empty(past.shape)
