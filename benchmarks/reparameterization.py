"""What folding gains on two trained models of SLAB's and RePaViT's blocks, beside what the papers claim.

    python benchmarks/reparameterization.py --json build/reparameterization.json

Trains both briefly on JapaneseVowels (models/training/foldable.py), exports each twice, with its norms and
branches folded and as it was trained, and times a frame: batch 1, one thread, in turns, the median of rounds.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import options
import torch
from rounds import microseconds, take_turns
from torch import nn

import millstream
import millstream_runtime
from millstream.datasets import japanese_vowels
from millstream.reparameterize import Report, reparameterize

sys.path.append(str(Path(__file__).parent.parent / "models" / "training"))

import foldable

TARGET = "cpu"
_FRAMES = 16

CLAIMS = (
    "What the papers say of GPUs: RePaViT +66.8 % (Large) and +68.7 % (Huge); "
    "SLAB-Swin 16.2 ms, 2.4 ms less than Flatten-Swin (+15 %)."
)


@dataclass(frozen=True)
class Row:
    """One way to run one model: microseconds per frame as trained and folded."""

    model: str
    runner: str
    macs: tuple[int, int]
    parameters: tuple[int, int]
    trained: float
    folded: float


def main() -> None:
    made = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    options.add_json(made)
    arguments = made.parse_args()
    torch.set_num_threads(1)
    split = japanese_vowels.train()
    vision, images = foldable.vision(split), foldable.images(split)[:64]
    rows = [*_rows("vision", vision, images), *_rows("stream", foldable.stream(split), list(split.frames))]
    print(_table(rows))
    if arguments.json:
        arguments.json.write_text(
            json.dumps({"claims": CLAIMS, "rows": [asdict(row) for row in rows]}, indent=1)
        )


def _rows(name: str, module: nn.Module, example: Any) -> list[Row]:
    """The model in torch and in Millstream."""
    folded, report = reparameterize(module, example)
    frames = np.concatenate([np.asarray(each) for each in example][:_FRAMES])
    frames = (
        frames[:_FRAMES] if hasattr(module, "step") else np.stack([np.asarray(f) for f in example[:_FRAMES]])
    )
    eager = {"trained": _eager(module.eval(), frames), "folded": _eager(folded, frames)}
    ours = {
        "trained": _ours(module, example, frames, fold=False),
        "folded": _ours(module, example, frames, fold=True),
    }
    return [_row(name, "torch eager", report, eager), _row(name, f"Millstream, {TARGET}", report, ours)]


def _row(name: str, runner: str, report: Report, ways: Mapping[str, Callable[[], float]]) -> Row:
    timings = take_turns(ways)
    before, after = report.before, report.after
    macs, parameters = (before.macs, after.macs), (before.parameters, after.parameters)
    return Row(name, runner, macs, parameters, timings["trained"].median, timings["folded"].median)


def _eager(module: nn.Module, frames: np.ndarray) -> Callable[[], float]:
    """One frame after the other through torch."""
    inputs = [torch.tensor(frame)[None] for frame in frames]

    @torch.inference_mode()
    def work() -> None:
        if not hasattr(module, "step"):
            for frame in inputs:
                module(frame)
            return
        state = module.initial_state(1)
        for frame in inputs:
            _, state = module.step(frame, state)

    return lambda: microseconds(work, len(inputs))


def _ours(module: nn.Module, example: Any, frames: np.ndarray, fold: bool) -> Callable[[], float]:
    """One frame after the other through the exported step."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.mill"
        millstream.export(module, example, target=TARGET, reparameterize=fold).save(path)
        stream = millstream_runtime.load(path, backend="tvm").stream()

    def work() -> None:
        for frame in frames:
            stream.step(frame)

    return lambda: microseconds(work, len(frames))


def _table(rows: list[Row]) -> str:
    lines = [
        "| model | MACs | parameters | runner | as trained, us | folded, us | speed |",
        "|---|---:|---:|---|---:|---:|---:|",
    ]
    for row in rows:
        macs, parameters = (f"{a:,} -> {b:,}" for a, b in (row.macs, row.parameters))
        gain = f"+{100 * (row.trained / row.folded - 1):.0f} %"
        cells = (row.model, macs, parameters, row.runner, f"{row.trained:.1f}", f"{row.folded:.1f}", gain)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", CLAIMS])


if __name__ == "__main__":
    main()
