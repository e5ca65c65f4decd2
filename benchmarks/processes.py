"""The near side of `worker`: start processes, ask them, and say why one failed."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WORKER = Path(__file__).with_name("worker.py")
CONVERSION_SECONDS = 3600

#: Libraries that spread one step over threads would measure the machine, not the step.
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
_ENVIRONMENT = os.environ | dict.fromkeys(_ONE_THREAD, "1")

#: The line of a traceback that names the error.
_ERROR = re.compile(r"^[\w.]*[A-Z]\w*: .*", re.MULTILINE)
_LONGEST_REASON = 300


class RunnerFailed(Exception):
    """A runner that is not installed, cannot convert, died, or answers something else than torch."""


@dataclass(frozen=True)
class Worker:
    """A process that holds one open runner and waits to be asked."""

    process: subprocess.Popen[str]
    log: Path

    def outputs(self) -> list[list[float]]:
        """The outputs of the first frames, from the initial state. Raises RunnerFailed."""
        return self._ask("outputs")

    def round(self) -> float:
        """Microseconds per step over one round. Raises RunnerFailed."""
        return self._ask("round")

    def _ask(self, question: str) -> Any:
        with suppress(BrokenPipeError):  # a process that has ended is found out by its missing answer
            print(question, file=self.process.stdin, flush=True)
        line = self.process.stdout.readline()
        if not line:
            raise RunnerFailed(_reason(self.process.wait(), self.log.read_text()))
        return json.loads(line)


@contextmanager
def worker(python: str, entry: str, folder: Path) -> Iterator[Worker]:
    """A worker that serves `entry` with the files in `folder`, and ends with the `with` block."""
    log = folder / f"{entry.replace(':', '.')}.log"
    with log.open("w") as errors:
        process = subprocess.Popen(
            [python, str(WORKER), "serve", entry, str(folder)],
            env=_ENVIRONMENT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    try:
        yield Worker(process, log)
    finally:
        process.kill()
        process.communicate()


def converted(python: str, entry: str, workload: str, room: Path) -> Path:
    """The folder in `room` with the files that `entry` makes of a workload, made unless they are there.

    Raises RunnerFailed.
    """
    place = room / f"{workload}.{entry.replace(':', '.')}"
    if not place.exists():
        unfinished = place.with_name(f"{place.name}.unfinished")
        unfinished.mkdir(parents=True, exist_ok=True)
        ask_once(python, "convert", entry, workload, str(unfinished))
        unfinished.rename(place)
    return place


def ask_once(python: str, *question: str) -> Any:
    """What a process of its own answers; None when it has nothing to say. Raises RunnerFailed."""
    command = [python, str(WORKER), *question]
    try:
        done = subprocess.run(
            command, env=_ENVIRONMENT, capture_output=True, text=True, timeout=CONVERSION_SECONDS
        )
    except subprocess.TimeoutExpired as expired:
        raise RunnerFailed(f"took more than {CONVERSION_SECONDS} seconds") from expired
    if done.returncode:
        raise RunnerFailed(_reason(done.returncode, done.stderr))
    return json.loads(done.stdout) if done.stdout else None


def _reason(status: int, log: str) -> str:
    """The last error that a process printed, or how it ended."""
    if status < 0:
        return f"died of signal {-status}"
    errors = _ERROR.findall(log) or log.strip().splitlines() or [f"ended with status {status}"]
    return errors[-1][:_LONGEST_REASON]
