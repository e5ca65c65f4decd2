"""Softmax attention in parts: what each part of the keys gives, and how parts are merged.

Source: Milakov and Gimelshein, "Online normalizer calculation for softmax" (2018); Rabe and Staats,
"Self-attention Does Not Need O(n²) Memory" (2021).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from millstream_models.core.forms.gating import NOTHING


class Partial(NamedTuple):
    """Attention over some of the keys, scaled by e^-maximum."""

    #: The largest score of each head, (..., H, 1).
    maximum: Tensor
    #: sum e^score v, (..., H, V).
    weighted: Tensor
    #: sum e^score, (..., H, 1).
    total: Tensor


def attend(q: Tensor, keys: Tensor, values: Tensor, visible: Tensor) -> Partial:
    """One query per head over W keys.

    Args:
        q: (..., H, K), scaled already.
        keys: (..., W, H, K).
        values: (..., W, H, V).
        visible: (..., W) bool, which keys count.
    """
    scores = (keys * q.unsqueeze(-3)).sum(-1).transpose(-1, -2)
    visible = visible.unsqueeze(-2)
    scores = torch.where(visible, scores, NOTHING)
    maximum = scores.amax(-1, keepdim=True)
    weights = torch.where(visible, torch.exp(scores - maximum), 0.0)
    weighted = torch.matmul(weights.unsqueeze(-2), values.transpose(-3, -2)).squeeze(-2)
    return Partial(maximum, weighted, weights.sum(-1, keepdim=True))


def merge(a: Partial, b: Partial) -> Partial:
    """Attention over the keys of both."""
    maximum = torch.maximum(a.maximum, b.maximum)
    left, right = torch.exp(a.maximum - maximum), torch.exp(b.maximum - maximum)
    return Partial(maximum, left * a.weighted + right * b.weighted, left * a.total + right * b.total)


def finish(partial: Partial) -> Tensor:
    """The attention itself, (..., H, V)."""
    return partial.weighted / partial.total
