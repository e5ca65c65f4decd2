"""A workload's step as converters take it: states are plain arguments and results, in one order."""

from __future__ import annotations

from pathlib import Path

import torch
from frames import CHANNELS
from torch import Tensor, nn
from workloads import workload


class FlatStep(nn.Module):
    """(x, *states) -> (y, *next states), x (1, 40)."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self.names = tuple(module.initial_state(1))

    def forward(self, x: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        y, after = self.module.step(x, dict(zip(self.names, states, strict=True)))
        return (y, *(after[name] for name in self.names))

    def arguments(self) -> tuple[Tensor, ...]:
        """A frame and the initial states."""
        return (torch.zeros(1, CHANNELS), *self.module.initial_state(1).values())


def flat_step(name: str) -> FlatStep:
    """The flat step of a workload, in evaluation mode."""
    return FlatStep(workload(name)).eval()


def export_onnx(name: str, file: Path) -> FlatStep:
    """Write the flat step of a workload as torch's own exporter makes it, and return it.

    The state `s` goes in as `s` and comes out as `next_s`; the frame is `x`, the output `y`.
    """
    step = flat_step(name)
    torch.onnx.export(
        step,
        step.arguments(),
        file,
        dynamo=True,
        external_data=False,
        input_names=["x", *step.names],
        output_names=["y", *(f"next_{state}" for state in step.names)],
    )
    return step
