"""What TVM's own operators cost: a step of the workloads by them and fused, and one that only they cover.

    python benchmarks/relax_latency.py ABCD

One thread, batch 1, Python caller and state carry included; runners take turns, as in `step_latency.py`. The
last row is a decoder with Resize, which the fused lowering does not have. Every bundle is proved first.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import step_latency
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from workloads import WORKLOADS, workload

import millstream
import millstream_runtime

RUNNERS = ("tvm", "relax", "onnxruntime", "torch eager")


class Decoder(nn.Module):
    """Frames of 40 numbers to 160 samples: upsampled and convolved three times, over a running mean."""

    def __init__(self) -> None:
        super().__init__()
        self.inlet = nn.Linear(step_latency.CHANNELS, 64 * 20)
        widths = itertools.pairwise((64, 48, 32, 16))
        self.stages = nn.ModuleList(
            [
                nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv1d(a, b, 5, padding=2), nn.ReLU())
                for a, b in widths
            ]
        )
        self.outlet = nn.Conv1d(16, 1, 1)

    def initial_state(self, batch: int) -> dict[str, Tensor]:
        return {"mean": torch.zeros(batch, 64, 20)}

    def step(self, x: Tensor, state: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        mean = 0.5 * state["mean"] + 0.5 * self.inlet(x).unflatten(-1, (64, 20))
        y = mean
        for stage in self.stages:
            y = stage(y)
        return self.outlet(y)[:, 0], {"mean": mean}

    def forward(self, x: Tensor) -> Tensor:
        state, outputs = self.initial_state(x.shape[0]), []
        for t in range(x.shape[1]):
            y, state = self.step(x[:, t], state)
            outputs.append(y)
        return torch.stack(outputs, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("workloads", nargs="?", default="ABCD", help=f"letters among {''.join(WORKLOADS)}")
    letters = parser.parse_args().workloads
    torch.set_num_threads(1)
    models: dict[str, Callable[[], nn.Module]] = {name: lambda name=name: workload(name) for name in letters}
    models["decoder with Resize"] = Decoder
    table = Table(title="microseconds per step, median")
    for column in ("", *RUNNERS):
        table.add_column(column, justify="right")
    console = Console(width=100)
    for name, make in models.items():
        with console.status(name):
            found = time_model(name, make())
        table.add_row(name, *(f"{found[runner]:,.1f}" if runner in found else "-" for runner in RUNNERS))
    console.print(table)
    console.print(step_latency.machine())


def time_model(name: str, module: nn.Module) -> dict[str, float]:
    """Median microseconds per step, by runner; `tvm` where the fused lowering covers the model."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "step.mill"
        frames: np.ndarray = step_latency.FRAMES[None]
        millstream.export(module, frames, target=("cpu", "relax")).save(path)
        targets = millstream_runtime.read(path).manifest.targets
        runners = {t.backend: step_latency.open_backend(path, t.backend) for t in targets}
    runners["torch eager"] = step_latency.open_torch(module)
    return {timing.runner: timing.median for timing in step_latency.take_turns(name, runners)}


if __name__ == "__main__":
    main()
