"""A model as you would bring it: a small recurrent denoiser of 40 band energies a frame, in plain PyTorch.

    millstream export examples/denoiser.py:Denoiser --example noise:64x40 -o denoiser.mill

The weights here are random; with your own, add `--checkpoint weights.safetensors`, and give real frames
with `--example frames.npz`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

BANDS = 40


class Denoiser(nn.Module):
    """A gated recurrence that gives each band a gain between 0 and 1."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.width = width
        self.gates = nn.Linear(BANDS + width, 2 * width)
        self.candidate = nn.Linear(BANDS + width, width)
        self.gain = nn.Linear(width, BANDS)

    def initial_state(self, batch: int) -> dict[str, Tensor]:
        """What one stream remembers between frames; the first dimension is the batch."""
        return {"hidden": torch.zeros(batch, self.width)}

    def step(self, x: Tensor, state: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """One frame (B, 40) in, one denoised frame (B, 40) out, and the state for the next."""
        hidden = state["hidden"]
        reset, update = torch.sigmoid(self.gates(torch.cat((x, hidden), -1))).chunk(2, -1)
        new = torch.tanh(self.candidate(torch.cat((x, reset * hidden), -1)))
        hidden = new + update * (hidden - new)
        return x * torch.sigmoid(self.gain(hidden)), {"hidden": hidden}

    def forward(self, x: Tensor) -> Tensor:
        """Whole sequences (B, T, 40), as in training."""
        state, outputs = self.initial_state(x.shape[0]), []
        for t in range(x.shape[1]):
            y, state = self.step(x[:, t], state)
            outputs.append(y)
        return torch.stack(outputs, 1)
