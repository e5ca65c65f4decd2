"""Millstream as a runner: a proved bundle for each number format, and one stream of it.

Imports stand inside the functions, so that opening loads what running needs and nothing of the toolchain.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from frames import FRAMES, Step

if TYPE_CHECKING:
    from millstream_runtime import Model

BUNDLE = "step.mill"


def float32(workload: str, folder: Path) -> None:
    """Export and prove a workload."""
    _export(workload, folder, None)


def w8(workload: str, folder: Path) -> None:
    """The same with weights in int8."""
    _export(workload, folder, "w8")


def w8a8(workload: str, folder: Path) -> None:
    """The same with weights and activations in int8."""
    _export(workload, folder, "w8a8")


def tvm(folder: Path) -> Step:
    """One compiled function a step."""
    return _step(folder, "tvm")


def numba(folder: Path) -> Step:
    """The same program, compiled where it runs."""
    return _step(folder, "numba")


def onnxruntime(folder: Path) -> Step:
    """The step graph as it is, in onnxruntime."""
    return _step(folder, "onnxruntime")


def model(folder: Path, backend: str) -> Model:
    """The bundle of a workload, open. Raises a BackendError."""
    import millstream_runtime

    return millstream_runtime.load(folder / BUNDLE, backend)


def _step(folder: Path, backend: str) -> Step:
    """A stream's step. Frames are finite here, so the check for NaN is left out, as peers have none."""
    from millstream_runtime import propagate

    return model(folder, backend).stream(nonfinite=propagate).step


def _export(workload: str, folder: Path, format: str | None) -> None:
    import workloads

    import millstream
    from millstream.quantize import format_named

    module = workloads.workload(workload)
    chosen = format_named(format) if format else None
    millstream.export(module, FRAMES[None], target=("cpu", "numba"), format=chosen).save(folder / BUNDLE)
