"""The dtypes that an export chose for the states, from the report of a bundle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import RenderableType

from millstream.cli.output import table


def narrow_states(found: Mapping[str, Any] | None) -> str:
    """How much smaller the states became, on one line; empty where all were left in float32."""
    if not found:
        return ""
    return (
        f"float32 {found['float32 bytes']:,} B -> {found['bytes']:,} B, "
        f"drift {_percent(found['together']['error'])} of {found['bound']:.3g} allowed"
    )


def state_dtypes(found: Mapping[str, Any]) -> RenderableType:
    """Each state with what every dtype did to the step, what it got, and why nothing smaller."""
    tried = list(dict.fromkeys(one["dtype"] for state in found["states"] for one in state["tried"]))
    rows = []
    for state in found["states"]:
        errors = {one["dtype"]: _percent(one["error"]) for one in state["tried"]}
        drift = [errors.get(dtype, "-") for dtype in tried]
        rows.append((state["name"], *drift, state["dtype"], state["bytes"], state["why"]))
    columns = ("state", *(f"drift in {dtype}" for dtype in tried), "taken", "bytes", "why nothing smaller")
    return table(columns, rows, title=f"states over {found['ticks']:,} ticks without reset")


def _percent(error: float | None) -> str:
    """Infinitely far is told as null in the report."""
    return "infinite" if error is None else f"{error:.2%}"
