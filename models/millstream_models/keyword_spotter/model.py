"""A keyword spotter: audio samples in, the scores of ten digits and of everything else out, hop by hop."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from millstream_models.core.forms import Form
from millstream_models.core.shell import Block, Mixer, State, StreamModel
from millstream_models.keyword_spotter.log_mel import LogMel
from millstream_models.lmuformer.norm import InputNorm
from millstream_models.mamba2.model import Mamba2

RATE, HOP, HOPS, BANDS = 8000, 160, 2, 32
WIDTH, BLOCKS = 48, 3
#: The digits in order, then what is none of them: silence, noise, other words, a digit that is not over yet.
LABELS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "-")


class KeywordSpotter(Mixer):
    """Log-mel energies, normalised by fixed statistics; blocks of Mamba-2; one score per label.

    A digit's score rises when the word ends, and stays up for about a quarter of a second.
    """

    def __init__(self) -> None:
        super().__init__()
        self.front = LogMel(RATE, HOP, HOPS, BANDS, low=80.0, high=3900.0)
        self.normalize = InputNorm(BANDS)
        blocks = [Block(WIDTH, Mamba2(WIDTH, head_width=24, order=16)) for _ in range(BLOCKS)]
        self.body = StreamModel(nn.Linear(BANDS, WIDTH), blocks, WIDTH, len(LABELS))

    def mix(self, x: Tensor, state: State, form: Form) -> tuple[Tensor, State]:
        """Samples in [-1, 1), (..., 160) -> scores (..., 11)."""
        energies, ring = self.front.mix(x, state, form)
        scores, after = self.body.mix(self.normalize(energies), state, form)
        return scores, {**ring, **after}

    def initial_state(self, batch: int) -> State:
        return {**self.front.initial_state(batch), **self.body.initial_state(batch)}


def keyword_spotter() -> KeywordSpotter:
    """The one configuration, untrained."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return KeywordSpotter().eval()
