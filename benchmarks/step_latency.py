"""Time one step of the five workloads: Millstream's backends beside what one would use instead.

    python benchmarks/step_latency.py ABCD --json build/step_latency.json --plot build/step_latency.png

One thread, batch 1, Python caller and state carry included. The runners of a workload take turns in rounds,
so that a machine whose speed drifts slows them alike; inputs differ from step to step. Shown is the median
over rounds. The bound is the bytes of the weights at this core's read bandwidth, measured in the same run.
Every bundle is proved before it is timed.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import nn
from workloads import CHANNELS, WORKLOADS, workload

import millstream
import millstream_runtime

ROUNDS = 15
ROUND_SECONDS = 0.02
BACKENDS = ("tvm", "numba", "onnxruntime")
FRAMES = np.random.default_rng(0).standard_normal((64, CHANNELS)).astype(np.float32)

Step = Callable[[np.ndarray], object]


@dataclass(frozen=True)
class Timing:
    """Microseconds per step of one runner on one workload: median over rounds, and the fastest round."""

    workload: str
    runner: str
    median: float
    fastest: float


def main() -> None:
    arguments = _arguments()
    console = Console(width=120)
    torch.set_num_threads(1)
    timings: list[Timing] = []
    for name in arguments.workloads:
        with console.status(f"workload {name}"):
            timings += time_workload(name)
    console.print(table(timings))
    report = {"machine": machine(), "timings": [asdict(timing) for timing in timings]}
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(report, indent=1))
    if arguments.plot:
        plot(timings, arguments.plot)
    console.print(report["machine"])


def time_workload(name: str) -> list[Timing]:
    """Export, prove, open and time one workload."""
    module = workload(name)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "step.mill"
        millstream.export(module, FRAMES[None], target=("cpu", "numba")).save(path)
        runners = {backend: open_backend(path, backend) for backend in BACKENDS}
    runners["torch eager"] = open_torch(module)
    bytes_read = sum(parameter.nbytes for parameter in module.parameters())
    bound = 1e6 * bytes_read / bandwidth(bytes_read)
    return [Timing(name, "bound", bound, bound), *take_turns(name, runners)]


def take_turns(name: str, runners: dict[str, Step]) -> Iterator[Timing]:
    """Rounds in which every runner steps for the same time."""
    rounds: dict[str, list[float]] = {runner: [] for runner in runners}
    for number in range(ROUNDS + 1):
        for runner, step in runners.items():
            microseconds = one_round(step)
            if number:  # the first round warms up
                rounds[runner].append(microseconds)
    for runner, values in rounds.items():
        yield Timing(name, runner, statistics.median(values), min(values))


def one_round(step: Step) -> float:
    """Microseconds per step over about `ROUND_SECONDS`."""
    count, begin = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - begin) < ROUND_SECONDS:
        for frame in FRAMES[:16]:
            step(frame)
        count += 16
    return 1e6 * elapsed / count


def open_backend(path: Path, backend: str) -> Step:
    """A stream's step. Frames are finite here, so the check for NaN is left out, as peers have none."""
    model = millstream_runtime.load(path, backend=backend)
    return model.stream(nonfinite=millstream_runtime.propagate).step


def open_torch(module: nn.Module) -> Step:
    """Eager torch, the state kept between calls."""
    state = module.initial_state(1)

    def step(frame: np.ndarray) -> object:
        nonlocal state
        with torch.inference_mode():
            y, state = module.step(torch.from_numpy(frame)[None], state)
        return y

    return step


def bandwidth(size: int) -> float:
    """Bytes per second that one core reads from a buffer of `size` bytes, best pass of a fifth of a second.

    A dot product of the buffer with itself reads each cache line once from where it lies, then again at once.
    """
    words = np.ones(max(size // 4, 1024), np.float32)
    best, end = float("inf"), time.perf_counter() + 0.2
    while (begin := time.perf_counter()) < end:
        words.dot(words)
        best = min(best, time.perf_counter() - begin)
    return words.nbytes / best


def table(timings: list[Timing]) -> Table:
    """One row per runner, one column per workload: the median, and its ratio to our fastest."""
    names = list(dict.fromkeys(timing.workload for timing in timings))
    shown = Table(title="microseconds per step, median (ratio to tvm)")
    shown.add_column("runner")
    for name in names:
        shown.add_column(name, justify="right")
    by_place = {(timing.runner, timing.workload): timing.median for timing in timings}
    for runner in dict.fromkeys(timing.runner for timing in timings):
        cells = []
        for name in names:
            median = by_place[runner, name]
            cells.append(f"{median:,.1f} ({median / by_place['tvm', name]:.2f})")
        shown.add_row(runner, *cells)
    return shown


def plot(timings: list[Timing], path: Path) -> None:
    """Bars on a logarithmic axis, one group per workload."""
    import matplotlib.pyplot as plt

    names = list(dict.fromkeys(timing.workload for timing in timings))
    runners = list(dict.fromkeys(timing.runner for timing in timings))
    figure, axes = plt.subplots(figsize=(8, 4), layout="constrained")
    for number, runner in enumerate(runners):
        medians = [timing.median for timing in timings if timing.runner == runner]
        places = [place + number / (len(runners) + 1) for place in range(len(names))]
        axes.bar(places, medians, width=1 / (len(runners) + 1), label=runner)
    axes.set_yscale("log")
    axes.set_ylabel("microseconds per step")
    axes.set_xticks([place + 0.4 for place in range(len(names))], names)
    axes.legend()
    figure.savefig(path, dpi=120)


def machine() -> dict[str, str]:
    """What the figures were measured on."""
    cpu = next((line.partition(":")[2].strip() for line in _cpu_lines() if line.startswith("model name")), "")
    packages = ("millstream", "torch", "apache-tvm", "numba", "onnxruntime", "numpy")
    return {"cpu": cpu, "python": platform.python_version(), **{name: version(name) for name in packages}}


def _cpu_lines() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("workloads", nargs="?", default="ABCD", help=f"letters among {''.join(WORKLOADS)}")
    parser.add_argument("--json", type=Path, help="write the timings here")
    parser.add_argument("--plot", type=Path, help="draw them here; needs matplotlib")
    return parser.parse_args()


if __name__ == "__main__":
    main()
