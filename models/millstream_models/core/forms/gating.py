"""Exponential gates without overflow: decays and writes relative to a running maximum.

State and writes are kept scaled by e^-m, where m follows the largest exponent so far. Whatever is read as
a ratio of two such states does not see m. Source: Beck et al., "xLSTM" (2024), appendix A.2; the same
scaling is the online softmax of Milakov and Gimelshein (2018).
"""

from __future__ import annotations

import torch
from torch import Tensor

#: A running maximum of nothing. Not minus infinity, whose difference with itself is no number.
NOTHING = -1e30


def stabilize(log_decay: Tensor, log_write: Tensor, past: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """One step: the scaled decay and write, and the next maximum; all operands of one shape (B, ...)."""
    decayed = log_decay + past
    present = torch.maximum(decayed, log_write)
    return torch.exp(decayed - present), torch.exp(log_write - present), present


def stabilize_sequence(
    log_decay: Tensor, log_write: Tensor, past: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A whole sequence (B, T, ...): scaled decays and writes, the maximum at each frame, and the last one.

    The maximum needs no loop: with F the sum of log decays so far, m = F + max(past, max_j (write_j - F_j)).
    It may be off by the rounding of F, which does no harm: decays and writes are scaled by the same m.
    """
    total = log_decay.cumsum(1)
    highest = torch.cummax(log_write - total, 1).values
    maximum = total + torch.maximum(past.unsqueeze(1), highest)
    before = torch.cat((past.unsqueeze(1), maximum[:, :-1]), 1)
    decay, write = torch.exp(log_decay + before - maximum), torch.exp(log_write - maximum)
    return decay, write, maximum, maximum[:, -1]
