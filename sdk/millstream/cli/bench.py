"""`millstream bench`: microseconds per step, cold load, state and scratch, per backend."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated

import typer

import millstream_runtime
from millstream.bench import Measured
from millstream.bench import bench as measure
from millstream.cli.arguments import Backend, BundlePath, Json
from millstream.cli.output import console, facts, print_json, table
from millstream_runtime import machine

_VERSIONS = ("millstream", "numpy", "numba", "onnxruntime")


def bench(
    bundle: BundlePath,
    frames: Annotated[int, typer.Option(min=1, metavar="N", help="How many steps are timed.")] = 2000,
    backend: Backend = None,
    as_json: Json = False,
) -> None:
    """Measure a stream on every backend that opens here, in one thread, on the golden frames."""
    measured = measure(millstream_runtime.read(bundle), frames, backend)
    where = {"machine": _machine(), "versions": _versions()}
    if as_json:
        print_json({**where, "frames": frames, "backends": measured})
        return
    out = console()
    versions = ", ".join(f"{name} {number}" for name, number in where["versions"].items())
    out.print(facts({"machine": where["machine"], "versions": versions, "steps": frames}))
    columns = (
        "backend",
        "target",
        "us median",
        "us p99",
        "cold load ms",
        "state B",
        "scratch B",
        "weights B",
        "remark",
    )
    out.print(table(columns, map(_row, measured)))


def _row(one: Measured) -> tuple[object, ...]:
    speed, memory = one.speed, one.memory
    times = (speed.median_us, speed.p99_us, speed.cold_load_ms) if speed else (None,) * 3
    shown = tuple("-" if time is None else f"{time:.1f}" for time in times)
    return one.backend, one.target, *shown, memory.state, memory.scratch, memory.weights, one.why


def _machine() -> str:
    here = machine.here()
    return ", ".join(
        filter(None, (machine.cpu_name(), here.arch, here.system, f"Python {platform.python_version()}"))
    )


def _versions() -> dict[str, str]:
    found = {}
    for name in _VERSIONS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
