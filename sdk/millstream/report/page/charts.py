"""Charts as inline SVG, coloured by the page's style so that they follow dark mode and paper.

Coordinates are those of a narrow screen; a wide one enlarges the whole.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import starmap

from millstream.report.latency import Latency
from millstream.report.page.markup import escaped

_WIDTH = 400
_LEFT, _RIGHT = 46, 10
_ROW, _ROW_LABEL = 54, 18
_PLOT = 180


def histograms(latencies: Sequence[Latency]) -> str:
    """How often a step took how long: one row for each backend, the times of all on one logarithmic axis."""
    edges = latencies[0].edges
    low, high = edges[0], edges[-1]
    bottom = len(latencies) * (_ROW + _ROW_LABEL)
    shapes = []
    for row, latency in enumerate(latencies):
        base = (row + 1) * (_ROW + _ROW_LABEL)
        tallest = max(latency.counts)
        points = [f"M{_across(low, low, high):.1f},{base}"]
        for left, right, count in zip(edges, edges[1:], latency.counts, strict=False):
            top = base - _ROW * count / tallest
            points.append(
                f"L{_across(left, low, high):.1f},{top:.1f}L{_across(right, low, high):.1f},{top:.1f}"
            )
        points.append(f"L{_across(high, low, high):.1f},{base}Z")
        median = _across(latency.at(50.0), low, high)
        shapes.append(f'<path class="f{row % 6}" d="{"".join(points)}"/>')
        shapes.append(
            f'<line class="median" x1="{median:.1f}" x2="{median:.1f}" y1="{base - _ROW}" y2="{base}"/>'
        )
        shapes.append(f'<text x="{_LEFT}" y="{base - _ROW - 3}">{escaped(latency.target)}</text>')
    ticks = "".join(
        f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{bottom}"/>'
        f'<text class="middle" x="{x:.1f}" y="{bottom + 15}">{step:g}</text>'
        for step in _steps(low, high)
        for x in [_across(step, low, high)]
    )
    caption = f'<text class="end" x="{_WIDTH - _RIGHT}" y="{bottom + 32}">microseconds per step</text>'
    return _svg("Distribution of the time of a step", bottom + 38, ticks + "".join(shapes) + caption)


def lines(title: str, ticks: Sequence[int], curves: Sequence[Sequence[float]]) -> str:
    """Curves over the ticks, each number a share of what is allowed (1, the broken line), logarithmically."""
    finite = [share for curve in curves for share in curve if 0 < share < math.inf]
    low = 10.0 ** math.floor(math.log10(min(finite, default=0.1)))
    low, last = min(low, 0.1), max(ticks[-1], 2)
    high = 10.0 ** math.ceil(math.log10(max([1.0, *finite])))
    bottom = 10 + _PLOT

    def height(share: float) -> float:
        inside = min(max(share, low), high)
        return bottom - _PLOT * math.log10(inside / low) / math.log10(high / low)

    def across(tick: int) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * (tick - 1) / (last - 1)

    stride = 1 if high / low < 1e5 else 2
    grid = "".join(
        f'<line class="{"limit" if power == 0 else "grid"}" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" '
        f'y1="{height(10.0**power):.1f}" y2="{height(10.0**power):.1f}"/>'
        f'<text class="end" x="{_LEFT - 4}" y="{height(10.0**power) + 4:.1f}">{_power(power)}</text>'
        for power in range(round(math.log10(low)), round(math.log10(high)) + 1)
        if power % stride == 0
    )
    drawn = "".join(
        f'<polyline class="l{place % 6}" points="'
        + " ".join(f"{across(t):.1f},{height(s):.1f}" for t, s in zip(ticks, curve, strict=True))
        + '"/>'
        for place, curve in enumerate(curves)
    )
    words = (
        f'<text x="{_LEFT}" y="{bottom + 16}">1</text>'
        f'<text class="end" x="{_WIDTH - _RIGHT}" y="{bottom + 16}">{last:,} ticks</text>'
    )
    return _svg(title, bottom + 22, grid + drawn + words)


def scatter(
    title: str, points: Sequence[tuple[float, float]], front: Sequence[tuple[float, float]], words: str
) -> str:
    """Points, less of both being better, and a line through those that no other beats; `words` name the axes.

    The axes begin at 0, that upward at the least value where one lies below.
    """
    across, upward = (list(axis) for axis in zip(*points, *front, strict=True))
    right, top, low = max(across) or 1.0, max(upward) or 1.0, min([0.0, *upward])
    bottom = 10 + _PLOT

    def place(x: float, y: float) -> tuple[float, float]:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * x / right, bottom - _PLOT * (y - low) / (top - low)

    zero = place(0, 0)[1]
    dots = (f'<circle class="f1" cx="{x:.1f}" cy="{y:.1f}" r="2.5"/>' for x, y in starmap(place, points))
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in starmap(place, front))
    axis = f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{zero:.1f}" y2="{zero:.1f}"/>'
    last = f"{right:,.0f}: {words}"
    numbers = (
        f'<text class="end" x="{_LEFT - 4}" y="{zero + 4:.1f}">0</text>'
        f'<text x="0" y="12">{top:.2g}</text>'
        f'<text class="end" x="{_WIDTH - _RIGHT}" y="{bottom + 16}">{escaped(last)}</text>'
    )
    drawn = f'{axis}{"".join(dots)}<polyline class="l0" points="{line}"/>{numbers}'
    return _svg(title, bottom + 22, drawn)


def legend(names: Sequence[str]) -> str:
    """Which colour is whose."""
    each = (f'<li><i class="c{place % 6}"></i>{escaped(name)}</li>' for place, name in enumerate(names))
    return f'<ul class="legend">{"".join(each)}</ul>'


def _across(value: float, low: float, high: float) -> float:
    share = math.log(min(max(value, low), high) / low) / math.log(high / low)
    return _LEFT + (_WIDTH - _LEFT - _RIGHT) * share


def _steps(low: float, high: float) -> list[float]:
    """The 1, 2 and 5 of each power of ten between the ends; the powers alone where these stand too close."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    digits = (1, 2, 5) if high / low < 200 else (1,)
    steps = (digit * 10.0**power for power in powers for digit in digits)
    return [step for step in steps if low <= step <= high]


def _power(power: int) -> str:
    """Ten to the power, as short as an axis needs it."""
    return f"{10.0**power:g}" if power > -3 else f"1e{power}"


def _svg(title: str, height: float, body: str) -> str:
    return (
        f'<svg role="img" viewBox="0 0 {_WIDTH} {height:.0f}" aria-label="{escaped(title)}">'
        f"<title>{escaped(title)}</title>{body}</svg>"
    )
