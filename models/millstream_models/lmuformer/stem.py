"""The convolutional stem: four times convolve, rectify, normalise; then a residual convolution.

It comes in two kinds. The paper's pads one frame on each side, so every convolution looks one frame
ahead, five in all. The causal one pads two frames on the left and waits for nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from millstream_models.core import causal_conv_ring
from millstream_models.lmuformer.norm import ChannelNorm

KERNEL = 3
LAYERS = 4


class RingConv(nn.Module):
    """Convolution over time of kernel 3 and no bias: one padded pass, or frame by frame with a ring."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(KERNEL * inputs)
        self.weight = nn.Parameter(torch.empty(outputs, KERNEL, inputs).uniform_(-bound, bound))

    def forward(self, x: Tensor, padding: tuple[int, int]) -> Tensor:
        """(B, T, C) -> (B, T, O) with zeros before and after; `padding` adds up to KERNEL - 1."""
        padded = functional.pad(x.transpose(1, 2), padding)
        return functional.conv1d(padded, self.weight.transpose(1, 2)).transpose(1, 2)

    def step(self, x: Tensor, ring: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C) and the two frames before it (B, 2, C) -> (B, O) and the next ring."""
        return causal_conv_ring(x, self.weight, None, ring)

    def initial_ring(self, batch: int) -> Tensor:
        """The zero padding before the first frame."""
        return self.weight.new_zeros(batch, KERNEL - 1, self.weight.shape[2])


class StemLayer(nn.Module):
    """Convolution, ReLU, normalisation, in this order.

    As the normalisation comes last it cannot fold into its own convolution, and the zero padding of
    the next layer stands for normalised zeros: every ring holds frames after normalisation.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = RingConv(inputs, outputs)
        self.norm = ChannelNorm(outputs)

    def forward(self, x: Tensor, padding: tuple[int, int]) -> Tensor:
        return self.norm(torch.relu(self.conv(x, padding)))

    def step(self, x: Tensor, ring: Tensor) -> tuple[Tensor, Tensor]:
        y, ring = self.conv.step(x, ring)
        return self.norm(torch.relu(y)), ring


class _Stem(nn.Module):
    """What both kinds share: the layers, the sequence form and the rings."""

    padding: ClassVar[tuple[int, int]]

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        layers = nn.ModuleList(StemLayer(inputs if i == 0 else width, width) for i in range(LAYERS))
        self.layers = cast("Sequence[StemLayer]", layers)  # to a type checker it holds bare modules
        self.residual = RingConv(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """A whole sequence, (B, T, inputs) -> (B, T, width)."""
        for layer in self.layers:
            x = layer(x, self.padding)
        return x + self.residual(x, self.padding)

    def initial_state(self, batch: int) -> dict[str, Tensor]:
        convs = (*(layer.conv for layer in self.layers), self.residual)
        return {_ring(i): conv.initial_ring(batch) for i, conv in enumerate(convs)}


class CausalStem(_Stem):
    """Every convolution sees this frame and the two before it."""

    padding: ClassVar[tuple[int, int]] = (KERNEL - 1, 0)

    def step(self, x: Tensor, state: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Frame t in, features of frame t out: (B, inputs) -> (B, width)."""
        following: dict[str, Tensor] = {}
        for i, layer in enumerate(self.layers):
            x, following[_ring(i)] = layer.step(x, state[_ring(i)])
        branch, following[_ring(LAYERS)] = self.residual.step(x, state[_ring(LAYERS)])
        return x + branch, following


class SymmetricStem(_Stem):
    """Every convolution sees this frame and one on each side, so features come five frames late.

    Beyond both ends of a sequence each convolution must read zeros, as in the padded whole-sequence
    form, and not what the layer below makes of zeros. A shift register therefore remembers which of
    the last frames were real, and each layer's output is zeroed where its frame was not.
    """

    padding: ClassVar[tuple[int, int]] = (1, 1)
    look_ahead: ClassVar[int] = LAYERS + 1

    def step(
        self, x: Tensor, state: dict[str, Tensor], valid: Tensor
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Frame t in, features of frame t - 5 out.

        Args:
            x: (B, inputs); ignored where `valid` is False.
            state: as `initial_state` gives it.
            valid: (B,) bool, False for a tick after the end of the sequence.

        Returns:
            Features (B, width), whether they belong to a real frame (B, 1) bool, and the next state.
        """
        # Column i says whether frame t - i is real; layer i gives out frame t - i - 1.
        real = torch.cat((valid.unsqueeze(1), state["stem_valid"]), dim=1)
        following: dict[str, Tensor] = {"stem_valid": real[:, :-1].contiguous()}
        x = _gate(x, real[:, :1])
        for i, layer in enumerate(self.layers):
            x, following[_ring(i)] = layer.step(x, state[_ring(i)])
            x = _gate(x, real[:, i + 1 : i + 2])
        last = state[_ring(LAYERS)]
        branch, following[_ring(LAYERS)] = self.residual.step(x, last)
        # The newest frame of the ring is the one that the branch is centred on: no delay line is needed.
        return last[:, -1] + branch, real[:, -1:], following

    def initial_state(self, batch: int) -> dict[str, Tensor]:
        valid = torch.zeros(batch, self.look_ahead, dtype=torch.bool, device=self.residual.weight.device)
        return {"stem_valid": valid, **super().initial_state(batch)}


def _gate(x: Tensor, real: Tensor) -> Tensor:
    """Zero where the frame is not real; a product would let NaN or infinity through."""
    return torch.where(real, x, 0.0)


def _ring(layer: int) -> str:
    return f"stem_ring_{layer}"
