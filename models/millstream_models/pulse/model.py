"""An anomaly detector: a model of a pulse says what comes next, and the stream says how wrong it was."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from millstream_models.core.forms import Form
from millstream_models.core.parts.feed_forward import SwiGLU
from millstream_models.core.shell import Block, Mixer, State, StreamModel
from millstream_models.hgrn2.model import HGRN2, lower_bounds
from millstream_models.lmuformer.norm import InputNorm

#: A sample is foretold so many frames before it comes.
AHEAD = 4
WIDTH, EXPANSION, BLOCKS = 24, 12, 2


class SurpriseMeter(Mixer):
    """|x - what was foretold of it|, in standard deviations of the signal.

    Forecasts wait in a ring for their sample; the first few frames are held against an empty ring.
    """

    def __init__(self) -> None:
        super().__init__()
        self.normalize = InputNorm(1)
        bounds = lower_bounds(torch.zeros(BLOCKS, WIDTH))
        blocks = [
            Block(WIDTH, HGRN2(WIDTH, EXPANSION, bounds[i].clone()), SwiGLU(WIDTH, 2 * WIDTH))
            for i in range(BLOCKS)
        ]
        self.forecast = StreamModel(nn.Linear(1, WIDTH), blocks, WIDTH, 1)

    def mix(self, x: Tensor, state: State, form: Form) -> tuple[Tensor, State]:
        """Samples (..., 1) as the sensor gives them -> surprise (..., 1)."""
        x = self.normalize(x)
        foretold, after = self.forecast.mix(x, state, form)
        forecasts, ring = form.window(foretold, state["forecasts"])
        return (x - forecasts[..., 0, :]).abs(), {**after, "forecasts": ring}

    def initial_state(self, batch: int) -> State:
        empty = self.normalize.mean.new_zeros(batch, AHEAD, 1)
        return {**self.forecast.initial_state(batch), "forecasts": empty}


def pulse() -> SurpriseMeter:
    """The one configuration, untrained."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return SurpriseMeter().eval()
