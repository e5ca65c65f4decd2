"""A mixer: what crosses frames in one block, written once for both forms of time."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn

from millstream_models.core.forms import SEQUENCE, STEP, Form

State = dict[str, Tensor]


def numbered(state: State, number: int) -> State:
    """A block's state under names that end in the block's number."""
    return {f"{name}_{number}": value for name, value in state.items()}


def of_block(state: State, number: int) -> State:
    """The state of one block, out of those of all, under the block's own names."""
    ending = f"_{number}"
    return {name.removesuffix(ending): value for name, value in state.items() if name.endswith(ending)}


def initial_states(blocks: Iterable[Mixer], batch: int) -> State:
    """The initial states of all blocks, numbered."""
    state: State = {}
    for number, block in enumerate(blocks):
        state.update(numbered(block.initial_state(batch), number))
    return state


class Mixer(nn.Module):
    """A module whose `mix` says how frames meet; the three ways to run it follow.

    A mixer defines `mix(x, state, form)` and `initial_state(batch)`. Frames are (B, width), or (B, T, width)
    in the sequence form; a state is a flat dict of tensors (B, ...).
    """

    def mix(self, x: Tensor, state: State, form: Form) -> tuple[Tensor, State]:
        """Frames and the state before them -> frames and the state after them."""
        raise NotImplementedError(f"{type(self).__name__} defines no mix")

    def initial_state(self, batch: int) -> State:
        """The state before the first frame of `batch` streams."""
        raise NotImplementedError(f"{type(self).__name__} defines no initial_state")

    def forward(self, x: Tensor) -> Tensor:
        """A whole sequence, (B, T, ...) -> (B, T, ...)."""
        return self.prefill(x, self.initial_state(x.shape[0]))[0]

    def prefill(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """A stretch of a sequence, (B, T, ...) -> (B, T, ...), and the state after it."""
        return self.mix(x, state, SEQUENCE)

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """One frame, (B, ...) -> (B, ...), and the state after it."""
        return self.mix(x, state, STEP)
