"""What follows the stem: blocks of Legendre memory, a linear head, and the running mean of its logits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from millstream_models.lmuformer.block import Block
from millstream_models.lmuformer.config import LMUFormerConfig


class Trunk(nn.Module):
    """Blocks, the head, and the mean of the logits up to each frame.

    The mean is that of the logits, which equals the head of the mean features and is the smaller state.
    It is kept as a float64 sum and an int64 count. In float32 the increments of a long stream would sink
    below the last bit of the sum; n float64 additions are off by at most n * 1.1e-16 of the mean absolute
    logit, which reaches float32's own rounding only after five hundred million frames. Unlike a
    compensated float32 sum, a compiler that reorders additions cannot undo it.
    """

    def __init__(self, config: LMUFormerConfig) -> None:
        super().__init__()
        self.order = config.order
        blocks = nn.ModuleList(Block(config) for _ in range(config.blocks))
        self.blocks = cast("Sequence[Block]", blocks)  # to a type checker it holds bare modules
        self.head = nn.Linear(config.width, config.classes)

    def forward(self, x: Tensor) -> Tensor:
        """Mean logits up to each frame, (B, T, width) -> (B, T, classes)."""
        for block in self.blocks:
            x = block(x)
        logits = self.head(x)
        count = torch.arange(1, x.shape[1] + 1, device=x.device).unsqueeze(1)
        return (logits.double().cumsum(dim=1) / count).to(logits.dtype)

    def step(self, x: Tensor, state: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean logits up to this frame, (B, width) -> (B, classes)."""
        following: dict[str, Tensor] = {}
        for i, block in enumerate(self.blocks):
            x, following[_memory(i)] = block.step(x, state[_memory(i)])
        logits = self.head(x)
        total = state["logit_sum"] + logits.double()
        count = state["frame_count"] + 1
        return (total / count).to(logits.dtype), {**following, "logit_sum": total, "frame_count": count}

    def initial_state(self, batch: int) -> dict[str, Tensor]:
        weight = self.head.weight
        memories = {_memory(i): weight.new_zeros(batch, self.order) for i in range(len(self.blocks))}
        total = weight.new_zeros(batch, weight.shape[0], dtype=torch.float64)
        return {**memories, "logit_sum": total, "frame_count": weight.new_zeros(batch, 1, dtype=torch.int64)}


def _memory(block: int) -> str:
    return f"memory_{block}"
