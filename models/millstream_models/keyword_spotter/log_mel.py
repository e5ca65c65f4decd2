"""The log-mel front end as a streaming layer: audio samples in, the logarithm of band energies out.

Everything in it is linear but a square and a logarithm, so it stands in the step graph like any other layer:
a ring of samples, one matrix for windowed sines and cosines, one matrix of triangles.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from millstream_models.core.forms import Form
from millstream_models.core.shell import Mixer, State

#: Added to the energy of a band: noise of -60 dB or so, below which nothing is told apart.
FLOOR = 1e-6


class LogMel(Mixer):
    """log(M |F (w x)|² + ε) of the newest `hops` times `hop` samples, once every `hop` samples.

    w is a Hann window whose squares sum to 1, F the Fourier transform, M triangles on the mel scale. Before
    the start there is silence. Neither matrix is trained or stored: both follow from the sizes.
    """

    waves: Tensor
    triangles: Tensor

    def __init__(self, rate: int, hop: int, hops: int, bands: int, low: float, high: float) -> None:
        super().__init__()
        self.hop, self.hops = hop, hops
        length = hop * hops
        triangles = mel_triangles(rate, length, bands, low, high)
        # Only the frequencies that some triangle sees.
        seen = triangles.sum(1) > 0
        dtype = torch.get_default_dtype()
        self.register_buffer(
            "waves", windowed_waves(length)[..., seen].flatten(1).to(dtype), persistent=False
        )
        self.register_buffer("triangles", triangles[seen].to(dtype), persistent=False)

    def mix(self, x: Tensor, state: State, form: Form) -> tuple[Tensor, State]:
        """Samples (..., hop) -> log energies (..., bands)."""
        window, ring = form.window(x, state["samples"])
        parts = window.flatten(-2) @ self.waves
        real, imaginary = parts.unflatten(-1, (2, -1)).unbind(-2)
        energy = (real * real + imaginary * imaginary) @ self.triangles
        return torch.log(energy + FLOOR), {"samples": ring}

    def initial_state(self, batch: int) -> State:
        return {"samples": self.waves.new_zeros(batch, self.hops - 1, self.hop)}


def windowed_waves(length: int) -> Tensor:
    """Cosines and sines of every frequency under the window: float64 (length, 2, length // 2 + 1)."""
    place = torch.arange(length, dtype=torch.float64)
    window = 0.5 - 0.5 * torch.cos(2 * math.pi * place / length)
    angle = 2 * math.pi / length * torch.outer(place, torch.arange(length // 2 + 1, dtype=torch.float64))
    waves = torch.stack((torch.cos(angle), -torch.sin(angle)), 1)
    return waves * (window / window.square().sum().sqrt())[:, None, None]


def mel_triangles(rate: int, length: int, bands: int, low: float, high: float) -> Tensor:
    """How much of each frequency each band takes in: float64 (length // 2 + 1, bands).

    Band i rises from corner i to 1 at corner i + 1 and falls to corner i + 2; the corners are evenly spaced
    in mels from `low` to `high` hertz.
    """
    frequency = torch.arange(length // 2 + 1, dtype=torch.float64) * rate / length
    ends = mel(torch.tensor((low, high), dtype=torch.float64))
    corner = hertz(ends[0] + (ends[1] - ends[0]) * torch.arange(bands + 2) / (bands + 1))
    rising = (frequency[:, None] - corner[:-2]) / (corner[1:-1] - corner[:-2])
    falling = (corner[2:] - frequency[:, None]) / (corner[2:] - corner[1:-1])
    return torch.minimum(rising, falling).clamp(min=0)


def mel(hertz: Tensor) -> Tensor:
    """Hertz to mels, by O'Shaughnessy's formula."""
    return 2595 * torch.log10(1 + hertz / 700)


def hertz(mel: Tensor) -> Tensor:
    """Mels to hertz."""
    return 700 * (10 ** (mel / 2595) - 1)
