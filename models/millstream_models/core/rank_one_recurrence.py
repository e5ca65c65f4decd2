"""One step of a linear recurrence whose transition is diagonal plus rank one."""

import torch
from torch import Tensor


@torch.library.custom_op("millstream::rank_one_recurrence", mutates_args=())
def rank_one_recurrence(
    q: Tensor, k: Tensor, v: Tensor, decay: Tensor, erase: Tensor, probe: Tensor, past: Tensor
) -> tuple[Tensor, Tensor]:
    """S' = S (diag(decay) + probe eraseᵀ) + v kᵀ, o = S' q: what `probe` finds is added under `erase`.

    Args:
        q, k: (B, H, K).
        v: (B, H, V).
        decay: (B, H, K), or (B, H, 1) for one factor per head.
        erase, probe: (B, H, K); the probe looks at the state before it decays.
        past: the state before the step, (B, H, V, K).

    Returns:
        The read (B, H, V), and the state after the step (B, H, V, K).
    """
    found = torch.matmul(past, probe.unsqueeze(-1))
    present = past * decay.unsqueeze(-2) + found * erase.unsqueeze(-2) + v.unsqueeze(-1) * k.unsqueeze(-2)
    return torch.matmul(present, q.unsqueeze(-1)).squeeze(-1), present


@rank_one_recurrence.register_fake
def _shapes(
    q: Tensor, k: Tensor, v: Tensor, decay: Tensor, erase: Tensor, probe: Tensor, past: Tensor
) -> tuple[Tensor, Tensor]:
    return v.new_empty(v.shape), past.new_empty(past.shape)
