"""Measurements as a table and as JSON, with the machine and the versions that they belong to."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.table import Table


@dataclass(frozen=True)
class Measurement:
    """What one runner gave on one workload: the median and the fastest, or why there is neither.

    What happens once has no fastest. `error` is what the check against torch found.
    """

    workload: str
    runner: str
    median: float | None = None
    fastest: float | None = None
    error: float | None = None
    missing: str = ""


def table(
    title: str, measurements: Sequence[Measurement], baselines: Mapping[str, str], heading: str = "runner"
) -> Table:
    """One row per runner, one column per workload: `median (ratio to the baseline) fastest`.

    `baselines` names the runner that another one's median is divided by; one that is not in it has no ratio.
    """
    workloads = list(dict.fromkeys(each.workload for each in measurements))
    found = {(each.runner, each.workload): each for each in measurements}
    shown = Table(title=title)
    shown.add_column(heading, no_wrap=True)
    for workload in workloads:
        shown.add_column(workload, justify="right", no_wrap=True)
    for runner in dict.fromkeys(each.runner for each in measurements):
        baseline = baselines.get(runner, "")
        cells = [_cell(found.get((runner, w)), found.get((baseline, w))) for w in workloads]
        shown.add_row(runner, *cells)
    return shown


def reasons(measurements: Iterable[Measurement]) -> list[str]:
    """A line for everything that is missing."""
    return [f"{each.runner}, {each.workload}: {each.missing}" for each in measurements if each.missing]


def write_json(path: Path, machine: Mapping[str, Any], measurements: Iterable[Any]) -> None:
    """Write the figures, which are dataclasses, with what they were measured on."""
    path.parent.mkdir(parents=True, exist_ok=True)
    report = {"machine": dict(machine), "measurements": [asdict(each) for each in measurements]}
    path.write_text(json.dumps(report, indent=1) + "\n")


def number(value: float) -> str:
    """Digits that a measurement can bear."""
    decimals = 0 if value >= 1000 else 1 if value >= 1 else 2
    return f"{value:,.{decimals}f}"


def machine() -> dict[str, str]:
    """What the figures are measured on: CPU, cores, Python, the revision of Millstream."""
    revision = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=Path(__file__).parent, capture_output=True, text=True
    )
    return {
        "cpu": _cpu(),
        "cores": str(os.cpu_count()),
        "system": platform.platform(),
        "python": platform.python_version(),
        "revision": revision.stdout.strip(),
    }


def load_average() -> str:
    """Mean number of processes that wanted a core in the last minute: near 0 on a quiet machine."""
    return f"{os.getloadavg()[0]:.2f}"


def _cell(measured: Measurement | None, baseline: Measurement | None) -> str:
    if measured is None:
        return ""
    if measured.median is None:
        return "missing"
    ratio = f" ({measured.median / baseline.median:.2f})" if baseline and baseline.median else ""
    fastest = f" [dim]{number(measured.fastest)}[/]" if measured.fastest else ""
    return f"{number(measured.median)}{ratio}{fastest}"


def _cpu() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
