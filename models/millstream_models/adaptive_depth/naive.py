"""Adaptive depth with real branches: the oracle of the tests.

A block sees exactly the frames that use it, one after the other: its naive definition runs on those alone.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from millstream_models.adaptive_depth.model import EarlyExit, SkippedLayers
from millstream_models.core.naive import linear, sigmoid
from millstream_models.core.shell import Mixer

NaiveBlock = Callable[[Mixer, Tensor], Tensor]


def naive(mixer: EarlyExit | SkippedLayers, x: Tensor, naive_block: NaiveBlock) -> Tensor:
    """(T, width) -> (T, width); `naive_block` runs one inner block by its definition."""
    frames, active = list(x), [True] * len(x)
    for i, block in enumerate(mixer.blocks):
        if isinstance(mixer, SkippedLayers):
            active = [bool(sigmoid(linear(mixer.routers[i], f)) > mixer.threshold) for f in frames]
        used = [t for t, flag in enumerate(active) if flag]
        if used:
            outputs = naive_block(block, torch.stack([frames[t] for t in used]))
            for t, y in zip(used, outputs, strict=True):
                frames[t] = y
        if isinstance(mixer, EarlyExit):
            for t in used:
                active[t] = bool(sigmoid(linear(mixer.confidence[i], frames[t])) <= mixer.threshold)
    return torch.stack(frames)
