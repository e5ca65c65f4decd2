"""The same blocks over time: a small model that streams, with a causal linear attention."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from torch import Tensor, nn

from millstream_models.foldable.attention import CausalAttention
from millstream_models.foldable.idle_feed_forward import IdleFeedForward
from millstream_models.foldable.progressive_norm import ProgressiveNorm

_STATES = ("written", "weight", "ring")


@dataclass(frozen=True)
class StreamingConfig:
    """Sizes. `updates` is how many training passes LayerNorm takes to fade out."""

    inputs: int
    classes: int
    width: int = 64
    heads: int = 4
    blocks: int = 2
    expansion: int = 4
    updates: int = 100


class StreamingBlock(nn.Module):
    """x + attention(norm(x)), then a feed-forward layer that holds its own norm and shortcut."""

    def __init__(self, config: StreamingConfig) -> None:
        super().__init__()
        self.norm = ProgressiveNorm(config.width, config.updates)
        self.attention = CausalAttention(config.width, config.heads)
        self.feed_forward = IdleFeedForward(config.width, config.expansion * config.width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, width) -> (B, T, width)."""
        return self.feed_forward(x + self.attention(self.norm(x)))

    def step(self, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """(B, width) -> (B, width), with the attention's state."""
        mixed, state = self.attention.step(self.norm(x), state)
        return self.feed_forward(x + mixed), state


class FoldableStream(nn.Module):
    """Logits at every frame: (B, T, inputs) -> (B, T, classes)."""

    def __init__(self, config: StreamingConfig) -> None:
        super().__init__()
        self.embed = nn.Linear(config.inputs, config.width)
        blocks = nn.ModuleList(StreamingBlock(config) for _ in range(config.blocks))
        self.blocks = cast("Sequence[StreamingBlock]", blocks)  # to a type checker it holds bare modules
        self.norm = ProgressiveNorm(config.width, config.updates)
        self.head = nn.Linear(config.width, config.classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))

    def step(self, x: Tensor, state: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """One frame: (B, inputs) -> (B, classes)."""
        x, following = self.embed(x), {}
        for i, block in enumerate(self.blocks):
            names = [f"{name}_{i}" for name in _STATES]
            x, after = block.step(x, tuple(state[name] for name in names))
            following.update(zip(names, after, strict=True))
        return self.head(self.norm(x)), following

    def initial_state(self, batch: int) -> dict[str, Tensor]:
        """The attention's state of every block."""
        return {
            f"{name}_{i}": value
            for i, block in enumerate(self.blocks)
            for name, value in zip(_STATES, block.attention.initial_state(batch), strict=True)
        }
