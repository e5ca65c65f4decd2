"""What an export quantized, how, and what it left in float, from the report of a bundle."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import RenderableType

from millstream.cli.output import table


def quantized(found: Mapping[str, Any] | None) -> str:
    """The format and how much of the weights it took, on one line; empty without quantization."""
    if not found:
        return ""
    # Bundles of before constants were made smaller say nothing of them.
    smaller = found.get("in int16", ())
    taken = _weights(found["quantized"]) + _weights(smaller)
    whole = taken + _weights(found["left in float"])
    products = _counted(len(found["quantized"]), "product")
    beside = f", {_counted(len(smaller), 'constant')} beside" if smaller else ""
    return f"{found['format']}: {products}{beside}, {taken:,} of {whole:,} weights"


def details(found: Mapping[str, Any] | None) -> Iterator[RenderableType]:
    """What was changed before the rounding, and what stays in float, as tables; none that would be empty."""
    if found and found.get("prepared"):  # Older bundles do not tell.
        yield _prepared(found["prepared"])
    if found and found["left in float"]:
        yield _left_in_float(found["left in float"])


def _prepared(gains: Sequence[Mapping[str, Any]]) -> RenderableType:
    rows = (
        (each["method"], ", ".join(each["modules"]), f"{each['before']:.2%}", f"{each['after']:.2%}")
        for each in gains
    )
    columns = ("", "around", "noise before", "noise with it")
    return table(columns, rows, title="before the rounding")


def _left_in_float(weights: Sequence[Mapping[str, Any]]) -> RenderableType:
    """Every weight that stays in float, and why; those that are alike on one line."""
    rows = Counter((weight["operator"], str(tuple(weight["shape"])), weight["why"]) for weight in weights)
    columns = ("", "operator", "shape", "why")
    return table(columns, ((f"{count} x", *row) for row, count in rows.items()), title="left in float")


def front(found: Mapping[str, Any]) -> RenderableType:
    """The mixes that a search measured and no other beats; the one that was taken is marked."""
    if "words" in found:
        return _narrowed(found)
    rows = [
        (
            "taken" if each == found["chosen"] else "",
            each["bytes"],
            f"{each['microseconds']:.1f}",
            each["lost"],
            each["error"],
            _mix(each),
        )
        for each in found["front"]
    ]
    exact = found["float"]
    rows.append(("", exact["bytes"], f"{exact['microseconds']:.1f}", 0.0, 0.0, "all in float"))
    step = f"µs a step, {found['target']}"
    columns = ("", "bytes of weights", step, found["metric"], "relative error", "products")
    return table(columns, rows, title="smallest first")


def _narrowed(found: Mapping[str, Any]) -> RenderableType:
    """The same of a search for widths, which no step's time tells apart."""
    rows = [
        ("taken" if each == found["chosen"] else "", each["bytes"], each["lost"], each["error"], _mix(each))
        for each in found["front"]
    ]
    rows.append(("", found["words"]["bytes"], "-", "-", "all in 16 bits"))
    columns = ("", "bytes of operands", found["metric"], "relative error", "values and constants")
    return table(columns, rows, title="narrowest first")


def _mix(trial: Mapping[str, Any]) -> str:
    return ", ".join(f"{count} {name}" for name, count in trial["products"].items())


def _counted(count: int, name: str) -> str:
    return f"{count} {name}" if count == 1 else f"{count} {name}s"


def _weights(items: Sequence[Mapping[str, Any]]) -> int:
    return sum(math.prod(item["shape"]) for item in items)
