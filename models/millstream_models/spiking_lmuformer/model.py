"""Spiking LMUFormer: LMUFormer whose layers speak in spikes; the Legendre memory alone stays a number.

Source: Liu, Datta, Li and Beerel, "LMUFormer: Low Complexity Yet Powerful Spiking Model With Legendre Memory
Units" (ICLR 2024), with a stem that looks back only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from millstream_models.core.forms import Form
from millstream_models.core.parts.spiking import LeakyIntegrateAndFire
from millstream_models.core.shell import Mixer, State
from millstream_models.core.shell.small import INPUTS, OUTPUTS
from millstream_models.lmuformer.memory import LegendreMemory
from millstream_models.lmuformer.norm import ChannelNorm, InputNorm

TAPS = 3
STEM = 4
#: Sizes of the model that is trained on JapaneseVowels.
JAPANESE_VOWELS = {"inputs": 12, "classes": 9, "width": 48, "order": 96, "theta": 32.0}


class SpikingLMUFormer(Mixer):
    """A stem of four convolutions, one block of memory and channel mixer, a head, the mean of its logits.

    A neuron stands behind a norm, and reads currents: of frame t at time t. Every convolution but the first
    and every linear layer but the readout of the memory therefore sees zeros and ones.
    """

    def __init__(self, inputs: int, classes: int, width: int, order: int, theta: float) -> None:
        super().__init__()
        self.normalize = InputNorm(inputs)
        sizes = [inputs, *[width] * (STEM - 1)]
        layers = nn.ModuleList(nn.Linear(TAPS * size, width, bias=False) for size in sizes)
        self.convolutions = cast("Sequence[nn.Linear]", layers)  # to a type checker it holds modules
        self.residual = nn.Linear(TAPS * width, width, bias=False)
        self.drive = nn.Linear(width, 1)
        self.memory = LegendreMemory(order, theta)
        self.read = nn.Linear(order + width, width)
        self.project = nn.Linear(width, width)
        self.project_norm = ChannelNorm(width)
        self.expand, self.contract = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.head = nn.Linear(width, classes)
        sizes = {f"stem_{i}": width for i in range(STEM)}
        sizes.update(
            input=width, drive=1, memory=order, read=width, channel=width, hidden=4 * width, head=width
        )
        self.sizes = sizes
        self.norms = nn.ModuleDict({name: ChannelNorm(size) for name, size in sizes.items()})
        thresholds = {name: 0.5 if name == "input" else 1.0 for name in sizes}
        self.neurons = nn.ModuleDict({n: LeakyIntegrateAndFire(t) for n, t in thresholds.items()})

    def mix(self, x: Tensor, state: State, form: Form) -> tuple[Tensor, State]:
        y, after, _ = self.traced(x, state, form)
        return y, after

    def traced(self, x: Tensor, state: State, form: Form) -> tuple[Tensor, State, dict[str, Tensor]]:
        """`mix`, and the spikes of every group of neurons by name."""
        after: State = {}
        spikes: dict[str, Tensor] = {}

        def spike(name: str, current: Tensor) -> Tensor:
            neurons = self.neurons[name]
            fired, after[f"membrane_{name}"] = neurons.mix(  # type: ignore[operator]
                self.norms[name](current), state[f"membrane_{name}"], form
            )
            spikes[name] = fired
            return fired

        def convolve(layer: nn.Module, name: str, frames: Tensor) -> Tensor:
            window, after[name] = form.window(frames, state[name])
            return layer(window.flatten(-2))

        x = convolve(self.convolutions[0], "ring_0", self.normalize(x))
        for i in range(1, STEM):
            x = convolve(self.convolutions[i], f"ring_{i}", spike(f"stem_{i - 1}", x))
        x = x + convolve(self.residual, "ring_residual", spike(f"stem_{STEM - 1}", x))
        a = spike("input", x)
        u = spike("drive", self.drive(a))
        memory, after["memory"] = form.remember(
            u, self.memory.transition, self.memory.input_matrix, state["memory"]
        )
        s = spike("memory", memory)
        h = spike("read", self.read(torch.cat((s, a), -1)))
        y = x + self.project_norm(self.project(h))
        y = y + self.contract(spike("hidden", self.expand(spike("channel", y))))
        logits = self.head(spike("head", y))
        total, after["logit_sum"] = form.total(logits.double(), state["logit_sum"])
        count, after["frame_count"] = form.total(
            torch.ones_like(logits[..., :1], dtype=torch.int64), state["frame_count"]
        )
        return (total / count).to(logits.dtype), after, spikes

    def initial_state(self, batch: int) -> State:
        zeros = self.head.weight.new_zeros
        rings = {f"ring_{i}": layer.in_features // TAPS for i, layer in enumerate(self.convolutions)}
        rings["ring_residual"] = self.residual.in_features // TAPS
        return {
            **{name: zeros(batch, TAPS - 1, size) for name, size in rings.items()},
            **{f"membrane_{name}": zeros(batch, size) for name, size in self.sizes.items()},
            "memory": zeros(batch, self.memory.input_matrix.shape[0]),
            "logit_sum": zeros(batch, self.head.out_features, dtype=torch.float64),
            "frame_count": zeros(batch, 1, dtype=torch.int64),
        }


def spiking_lmuformer() -> SpikingLMUFormer:
    """The small configuration of the catalogue."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return SpikingLMUFormer(INPUTS, OUTPUTS, width=16, order=8, theta=12.0).eval()


def spiking_lmuformer_jv() -> SpikingLMUFormer:
    """The model for JapaneseVowels: (12,) raw frames, 9 speakers."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return SpikingLMUFormer(**JAPANESE_VOWELS).eval()
