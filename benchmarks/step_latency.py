"""Time one step of the five workloads: Millstream's backends beside what one would use instead.

    python benchmarks/step_latency.py ABCDE --peers build/peers/bin/python \\
        --json build/step_latency.json --plot build/step_latency.png

One thread, batch 1, Python caller and state carry included. Every runner has a process of its own with its
library alone, and they take turns in short rounds. Before it is timed every bundle is proved, and every
runner answers as torch does on the first frames; one that does not is shown as missing, with the reason.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import agreement
import numpy as np
from drawing import draw
from options import add_folder, add_json, add_peers, parser, room
from processes import RunnerFailed, Worker, ask_once, converted, worker
from report import Measurement, load_average, machine, reasons, table, write_json
from rich.console import Console
from rounds import take_turns
from runners import GROUPS, RUNNERS, Runner
from workloads import workload


def main() -> None:
    arguments = _arguments()
    console = Console(width=150)
    about = machine() | versions(arguments.peers)
    measurements: list[Measurement] = []
    with console.status("") as status, room(arguments.folder) as folder:
        for name in arguments.workloads:
            measurements += measure(name, arguments.peers, folder, status.update)
    about["load average"] = load_average()
    for group in GROUPS:
        some = [each for each in measurements if each.runner in group.rows]
        title = f"{group.name}: microseconds per step, median (ratio to {group.baseline}) fastest"
        console.print(table(title, some, dict.fromkeys(group.rows, group.baseline)))
    for line in reasons(measurements):
        console.print(line, markup=False)
    console.print(about)
    if arguments.json:
        write_json(arguments.json, about, measurements)
    if arguments.plot:
        draw(measurements, arguments.plot)


def measure(name: str, peers: str, folder: Path, say: Callable[[str], None]) -> list[Measurement]:
    """Convert, check and time one workload."""
    wanted = agreement.expected(workload(name))
    found: dict[str, Measurement] = {}
    errors: dict[str, float] = {}
    rounds: dict[str, Callable[[], float]] = {}
    with ExitStack() as stack:

        def started(runner: Runner) -> Worker:
            say(f"{name}: preparing {runner.name}")
            python = runner.python(peers)
            files = converted(python, runner.convert, name, folder)
            return stack.enter_context(worker(python, runner.open, files))

        for group in GROUPS:
            rounds[group.bound.name] = started(group.bound).round
            for runner in group.runners:
                try:
                    opened = started(runner)
                    errors[runner.name] = group.check(np.array(opened.outputs()), wanted)
                except RunnerFailed as failure:
                    found[runner.name] = Measurement(name, runner.name, missing=str(failure))
                else:
                    rounds[runner.name] = opened.round
        say(f"{name}: timing {len(rounds)} runners")
        for each, timing in take_turns(rounds).items():
            found[each] = Measurement(name, each, timing.median, timing.fastest, errors.get(each))
    return [found[each] for group in GROUPS for each in group.rows]


def versions(peers: str) -> dict[str, str]:
    """The packages behind the runners."""
    found: dict[str, str] = {}
    for runner in RUNNERS:
        found |= ask_once(runner.python(peers), "versions", *runner.packages)
    return found


def _arguments() -> argparse.Namespace:
    made = parser(__doc__)
    add_peers(made)
    add_folder(made)
    add_json(made)
    made.add_argument("--plot", type=Path, help="draw them here; needs matplotlib")
    return made.parse_args()


if __name__ == "__main__":
    main()
