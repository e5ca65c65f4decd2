"""How long an export takes, stage by stage: from the module to a proved bundle on disk.

    python benchmarks/compile_time.py ABCDE --json build/compile_time.json
    python benchmarks/compile_time.py ABCD --format w8a8

Seconds of one run each, in one process: the first workload pays for imports that the others find done. The
stage after the last compiler writes a bundle aside and opens every target in it; Numba compiles there.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from frames import FRAMES
from options import add_json, parser
from report import Measurement, machine, table, write_json
from rich.console import Console
from workloads import workload

import millstream
from millstream.quantize import FORMATS

#: The stages that lead from the module to the bundle, when nothing is proved.
_MAKING = ("tracing", "quantizing", "compiling", "writing")
#: The exporter's word for the stage, and what it spends its time on.
_OTHER_NAMES = {"compiling for onnxruntime": "opening every target"}


class Stopwatch:
    """A watcher of an export that notes how long each stage took."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._stage, self._since = "", time.perf_counter()

    def begin(self, what: str) -> None:
        """The stage before is over."""
        now = time.perf_counter()
        if self._stage:
            self.seconds[self._stage] = now - self._since
        self._stage, self._since = _OTHER_NAMES.get(what, what), now

    def climbed(self, rung: millstream.Rung) -> None:
        """A rung belongs to the stage that is under way."""


def main() -> None:
    arguments = _arguments()
    console = Console(width=150)
    measurements: list[Measurement] = []
    for name in arguments.workloads:
        with console.status(f"workload {name}"):
            measurements += measure(name, arguments.format)
    console.print(table("seconds", measurements, {}, heading="stage"))
    console.print(about := machine())
    if arguments.json:
        write_json(arguments.json, about, measurements)


def measure(name: str, format: str | None) -> Iterator[Measurement]:
    """Every stage; then the sum from module to bundle, which leaves the proofs out, and the whole."""
    module, watch = workload(name), Stopwatch()
    with tempfile.TemporaryDirectory() as folder:
        exported = millstream.export(
            module,
            FRAMES[None],
            target=("cpu", "numba"),
            format=FORMATS[format] if format else None,
            watcher=watch,
        )
        watch.begin("writing the bundle")
        exported.save(Path(folder) / "step.mill")
        watch.begin("done")
    making = (seconds for stage, seconds in watch.seconds.items() if stage.startswith(_MAKING))
    sums = {"from module to bundle": sum(making), "with all proofs": sum(watch.seconds.values())}
    for stage, seconds in (watch.seconds | sums).items():
        yield Measurement(name, stage, seconds)


def _arguments() -> argparse.Namespace:
    made = parser(__doc__)
    add_json(made)
    made.add_argument("--format", choices=FORMATS, help="quantize to this format")
    return made.parse_args()


if __name__ == "__main__":
    main()
