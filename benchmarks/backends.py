"""Compare ways to use a model on every backend of Millstream: what `pool` and `chunks` share."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import ours
from options import add_folder, add_json, parser, room
from processes import converted
from report import Measurement, load_average, machine, reasons, table, write_json
from rich.console import Console
from rounds import take_turns

from millstream_runtime import MillstreamError, Model

BACKENDS = ("tvm", "numba", "onnxruntime")
ROUNDS = 31

#: The ways by name, each a round that returns microseconds; the first is what the others are compared with.
Ways = Callable[[Model], Mapping[str, Callable[[], float]]]


def run(documentation: str, title: str, ways: Ways) -> None:
    """Parse arguments, measure every workload on every backend, print and write."""
    made = parser(documentation)
    add_folder(made)
    add_json(made)
    arguments = made.parse_args()
    console = Console(width=150)
    measurements: list[Measurement] = []
    with console.status("") as status, room(arguments.folder) as folder:
        for name in arguments.workloads:
            status.update(f"workload {name}")
            files = converted(sys.executable, "ours:float32", name, folder)
            for backend in BACKENDS:
                measurements += measure(name, files, backend, ways)
    about = machine() | {"load average": load_average()}
    console.print(table(title, measurements, _baselines(measurements)))
    for line in reasons(measurements):
        console.print(line, markup=False)
    console.print(about)
    if arguments.json:
        write_json(arguments.json, about, measurements)


def measure(name: str, files: Path, backend: str, ways: Ways) -> Iterator[Measurement]:
    """All ways of one backend on one workload, in turns."""
    try:
        rounds = ways(ours.model(files, backend))
    except MillstreamError as error:
        yield Measurement(name, backend, missing=str(error))
        return
    for way, timing in take_turns(rounds, ROUNDS).items():
        yield Measurement(name, f"{backend}, {way}", timing.median, timing.fastest)


def _baselines(measurements: list[Measurement]) -> dict[str, str]:
    """The first way of the same backend."""
    first: dict[str, str] = {}
    for each in measurements:
        first.setdefault(each.runner.partition(",")[0], each.runner)
    return {each.runner: first[each.runner.partition(",")[0]] for each in measurements}
