"""The main job, end to end: export the trained LMUFormer, then stream the real test set through it.

JapaneseVowels holds 640 recordings of nine speakers saying two vowels, 12 cepstral coefficients a frame.
Every backend classifies the official test split frame by frame; torch runs the whole sequences.

    python examples/japanese_vowels_demo.py
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.table import Table

import millstream_runtime
from millstream import loading, reference
from millstream.cli import output
from millstream.cli.progress import rung_line
from millstream.datasets import japanese_vowels
from millstream.ladder import Rung
from millstream.sequences import Sequences
from millstream_runtime import nonfinite
from millstream_runtime.bundle import read
from millstream_runtime.core import Core
from millstream_runtime.stream import Stream

BUNDLE = Path("build/lmuformer_jv.mill")


@dataclass(frozen=True)
class Row:
    """What one backend did on the test split: times in microseconds, memory in bytes."""

    backend: str
    accuracy: float
    difference: float
    microseconds: float
    state_bytes: int


def main() -> None:
    console = output.console()
    ladder = export_by_command()
    test = japanese_vowels.test()
    with console.status("running torch over the whole sequences"):
        wanted = torch_logits(test)
    rows = []
    for name, core in cores():
        with console.status(f"streaming {len(test.frames)} recordings through {name}"):
            rows.append(measure(name, core, test, wanted))
    console.print(table(rows, len(test.frames), accuracy(wanted, test.labels)))
    console.print("\nThe proof ladder")
    for rung in ladder:
        console.print(rung_line(rung))
    console.print(f"\nThe bundle: {BUNDLE} ({BUNDLE.stat().st_size:,} bytes)")
    console.print(f"Look inside: millstream inspect {BUNDLE}")


def export_by_command() -> list[Rung]:
    """The one command. It refuses to write when a rung of the ladder fails, and the demo ends with it."""
    BUNDLE.parent.mkdir(exist_ok=True)
    command = ["export", "lmuformer_jv", "--target", "cpu", "--target", "numba", "-o", str(BUNDLE)]
    print("$ millstream", *command, flush=True)
    done = subprocess.run(
        [sys.executable, "-m", "millstream", *command, "--json"],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(done.returncode)
    return [Rung(**rung) for rung in json.loads(done.stdout)["ladder"]]


def torch_logits(test: Sequences) -> np.ndarray:
    """Logits (N, 9) after the last frame of each whole sequence, as the model was trained."""
    module = loading.load("lmuformer_jv").module
    with torch.no_grad():
        return np.stack([module(torch.tensor(frames)[None])[0, -1].numpy() for frames in test.frames])


def cores() -> Iterator[tuple[str, Core]]:
    """The reference, then every backend, each opened from the bundle."""
    bundle = read(BUNDLE)
    spec = bundle.manifest.model
    step = reference.open(bundle.members["step.onnx"], spec)
    yield "reference", Core(spec, step, bundle.initial(), bundle.manifest.model_sha256)
    for name in ("onnxruntime", "numba", "tvm"):
        yield name, millstream_runtime.load(BUNDLE, backend=name).core


def measure(name: str, core: Core, test: Sequences, wanted: np.ndarray) -> Row:
    """Stream every recording frame by frame, and time the steps alone."""
    logits, seconds, count = [], 0.0, 0
    with Stream(core, nonfinite.refuse) as stream:
        for frames in test.frames:
            stream.reset()
            begin = time.perf_counter()
            for frame in frames:
                result = stream.step(frame)
            seconds += time.perf_counter() - begin
            count += len(frames)
            logits.append(np.array(result))
    found = np.stack(logits)
    return Row(
        backend=name,
        accuracy=accuracy(found, test.labels),
        difference=float(np.abs(found - wanted).max()),
        microseconds=1e6 * seconds / count,
        state_bytes=state_bytes(core),
    )


def accuracy(logits: np.ndarray, labels: np.ndarray) -> float:
    """Share of sequences whose largest logit is that of their label."""
    return float((logits.argmax(1) == labels).mean())


def state_bytes(core: Core) -> int:
    """Bytes that one stream keeps between two frames."""
    return sum(value.nbytes for value in core.initial)


def table(rows: Sequence[Row], recordings: int, torch_accuracy: float) -> Table:
    """One row per backend, torch first."""
    columns = ("backend", "accuracy", "largest difference from torch", "us per frame", "bytes of state")
    cells: list[tuple[object, ...]] = [("torch, whole sequences", f"{torch_accuracy:.2%}", "", "", "")]
    for row in rows:
        difference, microseconds = f"{row.difference:.1e}", f"{row.microseconds:.1f}"
        cells.append((row.backend, f"{row.accuracy:.2%}", difference, microseconds, f"{row.state_bytes:,}"))
    title = f"JapaneseVowels, official test split: {recordings} recordings, frame by frame"
    return output.table(columns, cells, title)


if __name__ == "__main__":
    main()
