"""Many streams on a GPU: one step of all of them, against PyTorch on the same card.

    python benchmarks/gpu_streams.py prepare CDE --to build/gpu --arch sm_90
    python benchmarks/gpu_streams.py measure build/gpu --json build/gpu.json

The first needs no GPU; the second needs one, with PyTorch and cuda-bindings.

Microseconds per step of all streams, states on the card, float32 without TF32. PyTorch runs the same step
eagerly, compiled, and both recorded as CUDA graphs, which are replayed without copying states back: the
least that it can take. What has no room on the card beside the others is left out. Behind the times stand
the bytes of states that a step reads and writes per second, as a part of what a copy on the card moves.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from report import Measurement, machine, number, reasons, table, write_json
from rich.console import Console
from rounds import Timing, take_turns

from millstream_runtime.backends.cuda import CudaDevice
from millstream_runtime.backends.gpu.layout import Layout, load, way_for
from millstream_runtime.backends.gpu.step import DeviceStep
from millstream_runtime.program import buffer_bytes

if TYPE_CHECKING:
    import torch

STREAMS = (1, 64, 1024, 16384)
ROUNDS = 9
#: Of one runner in one round.
ROUND_SECONDS = 0.02
#: How far all outputs together may lie from those of PyTorch: sums of float32 in two orders, and norms of
#: what is nearly zero.
BOUND = 1e-4
OURS, STRONGEST = "millstream", "torch, compiled, graph"
NO_ROOM = "no room on the card for its states beside those of the others"


def prepare(workloads: str, folder: Path, arch: str) -> None:
    """Compile workloads for an architecture; each gets a folder with its files."""
    from workload_steps import step_of

    from millstream import lower
    from millstream.targets import cuda

    for name in workloads:
        graph, _ = step_of(name)
        lowered = lower.lower(graph)
        made = cuda.compile_program(lowered.program, lowered.weights, arch)
        (folder / name).mkdir(parents=True, exist_ok=True)
        for file in ("step.cubin", "layout.json", "weights.bin"):
            (folder / name / file).write_bytes(made.files[file])
        (folder / name / "arch").write_text(arch)


def measure(folder: Path, path: Path | None, seconds: float) -> None:
    """Time every prepared workload, print the table and write it. What is not done by then is left out."""
    import torch

    torch.backends.cuda.matmul.allow_tf32 = False
    console, end = Console(width=150), time.perf_counter() + seconds
    copied = _copy_bandwidth()
    about = machine() | {"gpu": torch.cuda.get_device_name(), "torch": torch.__version__}
    about["copy"] = f"{number(copied / 1e9)} GB/s"
    console.print(about)
    for name in sorted(each.name for each in folder.iterdir() if each.is_dir()):
        measurements = []
        for streams in STREAMS:
            if time.perf_counter() < end:
                measurements += list(_measured(folder / name, name, streams))
        runners = dict.fromkeys(each.runner for each in measurements)
        console.print(
            table(
                f"{name}: microseconds (ratio to {STRONGEST})",
                measurements,
                dict.fromkeys(runners, STRONGEST),
            )
        )
        console.print(*reasons(measurements), sep="\n")
        layout = load((folder / name / "layout.json").read_bytes())
        for each in measurements:
            if each.runner == OURS and each.median:
                rate = int(each.workload) / each.median * 1e6
                moved = 2 * _state_bytes(layout) * rate / copied
                console.print(f"{each.workload} streams: {number(rate)} frames/s, {moved:.0%} of a copy")
        if path:
            write_json(path.with_stem(f"{path.stem}_{name}"), about, measurements)


def _measured(folder: Path, name: str, streams: int) -> Iterator[Measurement]:
    """Every runner on one workload, in turns."""
    import torch
    from workloads import workload

    frames = torch.randn(streams, 40, device="cuda", generator=torch.Generator("cuda").manual_seed(0))
    step, got = _ours(folder, frames)
    want, peers = _torch(workload(name).cuda(), frames)
    got = got[: len(want)]
    error = float(np.linalg.norm(got - want) / np.linalg.norm(want))
    if not error < BOUND:
        raise SystemExit(f"{name}, {streams} streams: {error} from PyTorch")
    runners = {OURS: step} | {runner: each for runner, each in peers.items() if each}
    for runner, timing in _timed(runners).items():
        yield Measurement(
            str(streams), runner, timing.median, timing.fastest, error if runner == OURS else None
        )
    for runner, each in peers.items():
        if each is None:
            yield Measurement(str(streams), runner, missing=NO_ROOM)
    del step, peers, runners
    torch.cuda.empty_cache()


def _ours(folder: Path, frames: torch.Tensor) -> tuple[_Steps, np.ndarray]:
    """A step that swaps its states each time, and the outputs of the first one, done already."""
    layout = load((folder / "layout.json").read_bytes())
    device = CudaDevice((folder / "step.cubin").read_bytes(), (folder / "arch").read_text(), layout)
    step = DeviceStep(device, layout, (folder / "weights.bin").read_bytes())
    streams = len(frames)
    way = way_for(layout, streams)
    memory = step.memory(way, streams)
    for buffer in layout.role("state"):
        device.write(memory[buffer.name], np.zeros((streams, buffer.size), buffer.dtype))
    device.take(memory[layout.role("input")[0].name], device.look(frames))
    turns = (memory, layout.turned(memory))
    ways = [device.prepared(step.calls(way, streams, each)) for each in turns]
    ways[0]()
    output = layout.role("output")[0]
    first = np.empty((streams, output.size), np.float32)
    device.read(first, memory[output.name])

    def run() -> None:
        for each in ways:
            each()

    return _Steps(run, device.finish, 2), first


class _Steps:
    """Something that does `steps` steps at a call, and waits when told to."""

    def __init__(self, run: Callable[[], None], wait: Callable[[], None], steps: int) -> None:
        self.run, self.wait, self.steps = run, wait, steps

    def __call__(self) -> None:
        self.run()


def _torch(module: Any, frames: torch.Tensor) -> tuple[np.ndarray, Mapping[str, _Steps | None]]:
    """Outputs of the first frame, and each way to step, the strongest first; None where it has no room."""
    import torch

    state = {name: value.cuda() for name, value in module.initial_state(len(frames)).items()}
    ways: dict[str, _Steps | None] = {}
    with torch.no_grad():
        want = module.step(frames, state)[0].cpu().numpy()
        torch._dynamo.reset()
        steps = {"torch, compiled": torch.compile(module.step), "torch": module.step}
        for ending, make in ((", graph", _recorded), ("", _without_gradients)):
            for name, step in steps.items():
                torch.cuda.empty_cache()
                try:
                    ways[name + ending] = _Steps(make(step, frames, state), torch.cuda.synchronize, 1)
                except torch.OutOfMemoryError:
                    ways[name + ending] = None
    return want, ways


def _without_gradients(step: Callable[..., Any], frames: torch.Tensor, state: Any) -> Callable[[], None]:
    import torch

    def run() -> None:
        with torch.no_grad():
            step(frames, state)

    run()
    return run


def _recorded(step: Callable[..., Any], frames: torch.Tensor, state: Any) -> Callable[[], None]:
    """A CUDA graph of a step."""
    import torch

    with torch.no_grad():
        side = torch.cuda.Stream()
        with torch.cuda.stream(side):
            for _ in range(3):
                step(frames, state)
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            kept = step(frames, state)
    return lambda held=kept: graph.replay()


def _timed(runners: Mapping[str, _Steps]) -> Mapping[str, Timing]:
    """Microseconds per step."""

    def one_round(runner: _Steps) -> float:
        begin = time.perf_counter()
        runner()
        runner.wait()
        once = time.perf_counter() - begin
        count = max(1, min(1000, int(ROUND_SECONDS / once)))
        begin = time.perf_counter()
        for _ in range(count):
            runner()
        runner.wait()
        return (time.perf_counter() - begin) * 1e6 / count / runner.steps

    return take_turns(
        {name: lambda runner=runner: one_round(runner) for name, runner in runners.items()}, ROUNDS
    )


def _state_bytes(layout: Layout) -> int:
    return sum(map(buffer_bytes, layout.role("state")))


def _copy_bandwidth() -> float:
    """Bytes per second that a copy on the card reads and writes."""
    import torch

    source = torch.empty(1 << 28, device="cuda")
    target = torch.empty_like(source)
    copy = _Steps(lambda: target.copy_(source), torch.cuda.synchronize, 1)  # pyright: ignore[reportArgumentType]
    return 2 * source.nbytes / _timed({"copy": copy})["copy"].median * 1e6


def main() -> None:
    """Parse arguments, then prepare or measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    preparing = commands.add_parser("prepare")
    preparing.add_argument("workloads", help="letters of workloads, such as CDE")
    preparing.add_argument("--to", type=Path, required=True)
    preparing.add_argument("--arch", default="sm_90")
    measuring = commands.add_parser("measure")
    measuring.add_argument("folder", type=Path)
    measuring.add_argument("--json", type=Path)
    measuring.add_argument("--seconds", type=float, default=3600.0, help="begin no workload after so long")
    arguments = parser.parse_args()
    if arguments.command == "prepare":
        prepare(arguments.workloads, arguments.to, arguments.arch)
    else:
        measure(arguments.folder, arguments.json, arguments.seconds)


if __name__ == "__main__":
    main()
