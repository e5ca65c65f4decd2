"""Measurements as bars: one panel per workload, one line per runner, Millstream in its own colour."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from report import Measurement, number

_OURS, _PEER, _BOUND = "#1b6ca8", "#b8b8b8", "#e0a030"


def draw(measurements: Sequence[Measurement], path: Path) -> None:
    """Write a PNG. Every panel has a logarithmic scale of its own and the medians beside the bars."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    workloads = list(dict.fromkeys(each.workload for each in measurements))
    runners = list(dict.fromkeys(each.runner for each in measurements))
    found = {(each.runner, each.workload): each for each in measurements}
    size = (2 + 2.4 * len(workloads), 1 + 0.3 * len(runners))
    figure, row = plt.subplots(
        1, len(workloads), figsize=size, sharey=True, layout="constrained", squeeze=False
    )
    for axes, workload in zip(row[0], workloads, strict=True):
        medians = [found[runner, workload].median or 0 for runner in runners]
        axes.barh(runners, medians, color=[_colour(runner) for runner in runners])
        axes.set_xscale("log")
        axes.set_xlim(min(filter(None, medians)) / 2, max(medians) * 6)
        axes.set_title(workload)
        axes.spines[["top", "right"]].set_visible(False)
        for place, median in enumerate(medians):
            label = f" {number(median)}" if median else " missing"
            axes.text(median or axes.get_xlim()[0], place, label, va="center", fontsize=8)
    row[0][0].invert_yaxis()
    figure.supxlabel("microseconds per step, median; logarithmic")
    figure.savefig(path, dpi=130)


def _colour(runner: str) -> str:
    if runner.startswith("bound"):
        return _BOUND
    return _OURS if runner.startswith("Millstream") else _PEER
