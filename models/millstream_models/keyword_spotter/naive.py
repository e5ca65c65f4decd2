"""The log-mel front end as its equations say, sample by sample: the oracle of the tests."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from millstream_models.keyword_spotter.log_mel import FLOOR, LogMel


def naive(front: LogMel, rate: int, low: float, high: float, x: Tensor) -> Tensor:
    """Samples (T, hop) -> log energies (T, bands), float64.

    The signal is one long row with silence before it. Every frame is a sum over samples for every frequency,
    every band a sum over frequencies; no matrix of the layer is read.
    """
    length, hop = front.hop * front.hops, front.hop
    bands = front.triangles.shape[1]
    signal = [0.0] * (length - hop) + [float(sample) for sample in x.flatten()]
    window = [math.sin(math.pi * n / length) ** 2 for n in range(length)]
    power = sum(w * w for w in window)
    corners = [_hertz(_mel(low) + (_mel(high) - _mel(low)) * i / (bands + 1)) for i in range(bands + 2)]
    rows = []
    for t in range(len(x)):
        frame = [w * s for w, s in zip(window, signal[t * hop : t * hop + length], strict=True)]
        energies = [0.0] * bands
        for f in range(length // 2 + 1):
            turns = [2 * math.pi * f * n / length for n in range(length)]
            real = sum(s * math.cos(turn) for s, turn in zip(frame, turns, strict=True))
            imaginary = sum(s * math.sin(turn) for s, turn in zip(frame, turns, strict=True))
            for band in range(bands):
                share = _triangle(f * rate / length, *corners[band : band + 3])
                energies[band] += share * (real * real + imaginary * imaginary) / power
        rows.append([math.log(energy + FLOOR) for energy in energies])
    return torch.tensor(rows, dtype=torch.float64)


def _triangle(at: float, left: float, middle: float, right: float) -> float:
    """1 at the middle, 0 at both corners and beyond, straight between them."""
    if not left < at < right:
        return 0.0
    return (at - left) / (middle - left) if at <= middle else (right - at) / (right - middle)


def _mel(hertz: float) -> float:
    return 2595 * math.log10(1 + hertz / 700)


def _hertz(mel: float) -> float:
    return 700 * (10 ** (mel / 2595) - 1)
