"""Adaptive depth: frames that leave the stack early, and blocks that are skipped.

Sources: Nogales et al., "DYNAMAX: Dynamic computing for Transformers and Mamba based architectures" (2025);
Jain et al., "FiRST: Finetuning Router-Selective Transformers" (2024).

A step graph has no branches, so every block is computed and what was not wanted is not used: this says what
the model means, and a backend may save the work. The policy for states is to hold: a block that a frame
does not use keeps the state it had, in training too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from millstream_models.core.forms import Form
from millstream_models.core.shell import Mixer, State, StreamModel, initial_states, numbered, of_block
from millstream_models.core.shell.block import Block
from millstream_models.core.shell.small import INPUTS, OUTPUTS, WIDTH, seeded
from millstream_models.gla.model import GatedLinearAttention
from millstream_models.mamba.model import Mamba


class EarlyExit(Mixer):
    """Blocks in order; after each, a frame whose confidence sigmoid(w · x) is above the threshold leaves."""

    def __init__(self, width: int, blocks: Iterable[Mixer], threshold: float = 0.5) -> None:
        super().__init__()
        self.threshold = threshold
        self.blocks = cast("Sequence[Mixer]", nn.ModuleList(blocks))
        self.confidence = nn.ModuleList(nn.Linear(width, 1) for _ in self.blocks)

    def mix(self, x: Tensor, state: State, form: Form) -> tuple[Tensor, State]:
        return form.frame_by_frame(self._frame, x, state)

    def _frame(self, x: Tensor, state: State, form: Form) -> tuple[Tensor, State]:
        after: State = {}
        active = torch.ones_like(x[..., :1], dtype=torch.bool)
        for i, block in enumerate(self.blocks):
            own = of_block(state, i)
            y, following = block.mix(x, own, form)
            x = torch.where(active, y, x)
            after.update(_held(active, own, following, i))
            active = active & (torch.sigmoid(self.confidence[i](x)) <= self.threshold)
        return x, after

    def initial_state(self, batch: int) -> State:
        return initial_states(self.blocks, batch)


class SkippedLayers(Mixer):
    """Blocks in order, each used by the frames that its router sigmoid(w · x) lets in."""

    def __init__(self, width: int, blocks: Iterable[Mixer], threshold: float = 0.5) -> None:
        super().__init__()
        self.threshold = threshold
        self.blocks = cast("Sequence[Mixer]", nn.ModuleList(blocks))
        self.routers = nn.ModuleList(nn.Linear(width, 1) for _ in self.blocks)

    def mix(self, x: Tensor, state: State, form: Form) -> tuple[Tensor, State]:
        return form.frame_by_frame(self._frame, x, state)

    def _frame(self, x: Tensor, state: State, form: Form) -> tuple[Tensor, State]:
        after: State = {}
        for i, block in enumerate(self.blocks):
            own = of_block(state, i)
            used = torch.sigmoid(self.routers[i](x)) > self.threshold
            y, following = block.mix(x, own, form)
            x = torch.where(used, y, x)
            after.update(_held(used, own, following, i))
        return x, after

    def initial_state(self, batch: int) -> State:
        return initial_states(self.blocks, batch)


def _held(used: Tensor, before: State, after: State, number: int) -> State:
    """The next state of a block where it was used, and the one before elsewhere."""
    held = {name: torch.where(_like(used, value), value, before[name]) for name, value in after.items()}
    return numbered(held, number)


def _like(used: Tensor, value: Tensor) -> Tensor:
    """A flag per stream, shaped to stand beside a state of any rank; in a sequence of one frame, T goes."""
    return used.reshape(-1, *(1,) * (value.dim() - 1))


def early_exit() -> StreamModel:
    """The small configuration of the catalogue: three Mamba blocks with exits."""

    def make() -> StreamModel:
        blocks = [Block(WIDTH, Mamba(WIDTH)) for _ in range(3)]
        return StreamModel(nn.Linear(INPUTS, WIDTH), [EarlyExit(WIDTH, blocks)], WIDTH, OUTPUTS)

    return seeded(make)


def layer_skip() -> StreamModel:
    """The small configuration of the catalogue: three blocks of gated linear attention with routers."""

    def make() -> StreamModel:
        blocks = [Block(WIDTH, GatedLinearAttention(WIDTH, 2)) for _ in range(3)]
        return StreamModel(nn.Linear(INPUTS, WIDTH), [SkippedLayers(WIDTH, blocks)], WIDTH, OUTPUTS)

    return seeded(make)
