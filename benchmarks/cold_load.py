"""How long a fresh process that has NumPy needs to the first output: imports, opening, one step.

    python benchmarks/cold_load.py ABCDE --peers build/peers/bin/python --json build/cold_load.json

The files are made before, and a backend that compiles on the device finds its cache filled.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path

from options import add_folder, add_json, add_peers, parser, room
from processes import RunnerFailed, ask_once, converted
from report import Measurement, load_average, machine, reasons, table, write_json
from rich.console import Console
from rounds import take_turns
from runners import FLOAT32

STARTS = 7


def main() -> None:
    arguments = _arguments()
    console = Console(width=150)
    measurements: list[Measurement] = []
    with console.status("") as status, room(arguments.folder) as folder:
        for name in arguments.workloads:
            status.update(f"workload {name}")
            measurements += measure(name, arguments.peers, folder)
    about = machine() | {"load average": load_average()}
    baselines = {runner.name: FLOAT32.baseline for runner in FLOAT32.runners}
    title = f"milliseconds to the first output, median of {STARTS} (ratio to {FLOAT32.baseline}) fastest"
    console.print(table(title, measurements, baselines))
    for line in reasons(measurements):
        console.print(line, markup=False)
    console.print(about)
    if arguments.json:
        write_json(arguments.json, about, measurements)


def measure(name: str, peers: str, folder: Path) -> list[Measurement]:
    """Start every runner in turn, `STARTS` times after a first that fills the system's caches."""
    found: dict[str, Measurement] = {}
    starts: dict[str, Callable[[], float]] = {}
    for runner in FLOAT32.runners:
        python = runner.python(peers)
        try:
            files = converted(python, runner.convert, name, folder)
            ask_once(python, "cold", runner.open, str(files))
        except RunnerFailed as failure:
            found[runner.name] = Measurement(name, runner.name, missing=str(failure))
        else:
            starts[runner.name] = partial(ask_once, python, "cold", runner.open, str(files))
    for runner_name, timing in take_turns(starts, STARTS).items():
        found[runner_name] = Measurement(name, runner_name, timing.median, timing.fastest)
    return [found[runner.name] for runner in FLOAT32.runners]


def _arguments() -> argparse.Namespace:
    made = parser(__doc__)
    add_peers(made)
    add_folder(made)
    add_json(made)
    return made.parse_args()


if __name__ == "__main__":
    main()
