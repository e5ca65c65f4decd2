"""One step of the gated delta rule: a write corrects what the state holds under the key."""

import torch
from torch import Tensor


@torch.library.custom_op("millstream::delta_rule", mutates_args=())
def delta_rule(
    q: Tensor, k: Tensor, v: Tensor, strength: Tensor, decay: Tensor, past: Tensor
) -> tuple[Tensor, Tensor]:
    """Decay, then correct, then read: D = S diag(decay), S' = D + strength (v - D k) kᵀ, o = S' q.

    Args:
        q, k: (B, H, K).
        v: (B, H, V).
        strength: how much of the error is written, (B, H, 1); with a key of length 1 the state's part along
            it is scaled by 1 - strength, so 2 reflects it.
        decay: (B, H, K), or (B, H, 1) for one factor per head.
        past: the state before the step, (B, H, V, K).

    Returns:
        The read (B, H, V), and the state after the step (B, H, V, K).
    """
    decayed = past * decay.unsqueeze(-2)
    error = (v - torch.matmul(decayed, k.unsqueeze(-1)).squeeze(-1)) * strength
    present = decayed + error.unsqueeze(-1) * k.unsqueeze(-2)
    return torch.matmul(present, q.unsqueeze(-1)).squeeze(-1), present


@delta_rule.register_fake
def _shapes(
    q: Tensor, k: Tensor, v: Tensor, strength: Tensor, decay: Tensor, past: Tensor
) -> tuple[Tensor, Tensor]:
    return v.new_empty(v.shape), past.new_empty(past.shape)
