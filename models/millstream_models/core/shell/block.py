"""The usual block around a mixer: norm, mixer, residual; norm, feed-forward layer, residual."""

from __future__ import annotations

from torch import Tensor, nn

from millstream_models.core.forms import Form
from millstream_models.core.parts.norm import RMSNorm
from millstream_models.core.shell.mixer import Mixer, State


class Block(Mixer):
    """y = x + mixer(norm(x)), then y + feed_forward(norm(y)); without a feed-forward layer, y.

    The state is the mixer's own.
    """

    def __init__(self, width: int, mixer: Mixer, feed_forward: nn.Module | None = None) -> None:
        super().__init__()
        self.mixer_norm = RMSNorm(width)
        self.mixer = mixer
        self.feed_forward_norm = RMSNorm(width) if feed_forward is not None else None
        self.feed_forward = feed_forward

    def mix(self, x: Tensor, state: State, form: Form) -> tuple[Tensor, State]:
        mixed, state = self.mixer.mix(self.mixer_norm(x), state, form)
        x = x + mixed
        if self.feed_forward is None or self.feed_forward_norm is None:
            return x, state
        return x + self.feed_forward(self.feed_forward_norm(x)), state

    def initial_state(self, batch: int) -> State:
        return self.mixer.initial_state(batch)
