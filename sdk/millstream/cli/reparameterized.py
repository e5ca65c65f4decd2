"""What an export folded and what it left alone, from the report of a bundle."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import RenderableType

from millstream.cli.output import table


def reparameterized(found: Mapping[str, Any] | None) -> str:
    """How many rewrites, and what they saved, on one line; empty where nothing was rewritten."""
    if not found or not found["applied"]:
        return ""
    before, after, count = found["before"], found["after"], len(found["applied"])
    return (
        f"{count} rewrites, MACs {before['macs']:,} -> {after['macs']:,}, "
        f"parameters {before['parameters']:,} -> {after['parameters']:,}"
    )


def rewrites(found: Mapping[str, Any]) -> Iterator[RenderableType]:
    """Every rewrite with its error and its gain, then every place that was left alone, and why."""
    if found["applied"]:
        columns = ("rewrite", "where", "error", "MACs", "", "parameters", "")
        yield table(columns, map(_applied, found["applied"]), title="reparameterized")
    if found["left_alone"]:
        rows = ((each["rewrite"], each["where"], each["why"]) for each in found["left_alone"])
        yield table(("rewrite", "where", "why"), rows, title="left as it was")
    yield from found["notes"]


def _applied(each: Mapping[str, Any]) -> tuple[object, ...]:
    before, after = each["before"], each["after"]
    costs = ((before[kind], f"-> {after[kind]:,}") for kind in ("macs", "parameters"))
    return each["rewrite"], each["where"], f"{each['error']:.1e}", *(cell for pair in costs for cell in pair)
