"""The far side of `processes`: one process, one runner and its library, nothing else.

    python worker.py convert peers.litert:float32 A FOLDER   # makes the files of a workload
    python worker.py serve peers.litert:open_step FOLDER     # then one question a line: outputs, round
    python worker.py cold peers.litert:open_step FOLDER      # milliseconds to the first output
    python worker.py versions numpy openvino

Answers are lines of JSON. What libraries print goes to standard error.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from frames import CHECKED, FRAMES, Step
from rounds import step_round


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)

    def answer(value: object) -> None:
        print(json.dumps(value), file=answers)

    match sys.argv[1:]:
        case ["convert", entry, workload, folder]:
            _named(entry)(workload, Path(folder))
        case ["serve", entry, folder]:
            _serve(_named(entry)(Path(folder)), answer)
        case ["cold", entry, folder]:
            answer(cold_load(entry, folder))
        case ["versions", *packages]:
            answer({package: _version(package) for package in packages})
        case other:
            sys.exit(f"not understood: {other}")


def cold_load(entry: str, folder: str) -> float:
    """Milliseconds from a process that has NumPy to the first output: imports, opening, one step."""
    begin = time.perf_counter()
    _named(entry)(Path(folder))(FRAMES[0])
    return 1e3 * (time.perf_counter() - begin)


def _serve(step: Step, answer: Callable[[object], None]) -> None:
    for line in sys.stdin:
        match line.strip():
            case "outputs":
                answer([step(frame).reshape(-1).tolist() for frame in FRAMES[:CHECKED]])
            case "round":
                answer(step_round(step))
            case other:
                sys.exit(f"not understood: {other}")


def _named(entry: str) -> Callable[..., Any]:
    module, _, name = entry.partition(":")
    return getattr(import_module(module), name)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "missing"


if __name__ == "__main__":
    main()
