"""The model around its blocks: an inlet, the blocks, a norm and a head."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import cast

from torch import Tensor, nn

from millstream_models.core.forms import Form
from millstream_models.core.parts.norm import RMSNorm
from millstream_models.core.shell.mixer import Mixer, State, initial_states, numbered, of_block


class StreamModel(Mixer):
    """head(norm(blocks(inlet(x)))).

    The inlet is a linear layer for frames of numbers (B, inputs), or an embedding for tokens (B,) int64.
    State names are those of the blocks with the block's number behind them.
    """

    def __init__(self, inlet: nn.Module, blocks: Iterable[Mixer], width: int, outputs: int) -> None:
        super().__init__()
        self.inlet = inlet
        self.blocks = cast("Sequence[Mixer]", nn.ModuleList(blocks))  # to a type checker it holds modules
        self.norm = RMSNorm(width)
        self.head = nn.Linear(width, outputs, bias=False)

    def mix(self, x: Tensor, state: State, form: Form) -> tuple[Tensor, State]:
        x, after = self.inlet(x), {}
        for i, block in enumerate(self.blocks):
            x, own = block.mix(x, of_block(state, i), form)
            after.update(numbered(own, i))
        return self.head(self.norm(x)), after

    def initial_state(self, batch: int) -> State:
        return initial_states(self.blocks, batch)
