"""What an export folded and what it left alone, from the report of a bundle."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import RenderableType

from millstream.cli.output import table


def reparameterized(found: Mapping[str, Any] | None) -> str:
    """How many rewrites, and what they saved in the module and in the step; empty where there were none."""
    forms = [(form, done) for form, done in (found or {}).items() if done["applied"]]
    return "; ".join(f"{form}: {_saved(done)}" for form, done in forms)


def rewrites(found: Mapping[str, Any]) -> Iterator[RenderableType]:
    """Every rewrite with its error and its gain, then every place that was left alone, and why."""
    applied = [_applied(form, each) for form, done in found.items() for each in done["applied"]]
    if applied:
        columns = ("on the", "rewrite", "where", "error", "MACs", "", "parameters", "")
        yield table(columns, applied, title="reparameterized")
    left = [
        (form, each["rewrite"], each["where"], each["why"])
        for form, done in found.items()
        for each in done["left_alone"]
    ]
    if left:
        yield table(("on the", "rewrite", "where", "why"), left, title="left as it was")


def _saved(done: Mapping[str, Any]) -> str:
    before, after = done["before"], done["after"]
    return (
        f"{len(done['applied'])} rewrites, MACs {before['macs']:,} -> {after['macs']:,}, "
        f"parameters {before['parameters']:,} -> {after['parameters']:,}"
    )


def _applied(form: str, each: Mapping[str, Any]) -> tuple[object, ...]:
    before, after = each["before"], each["after"]
    macs, parameters = ((before[kind], f"-> {after[kind]:,}") for kind in ("macs", "parameters"))
    return form, each["rewrite"], each["where"], f"{each['error']:.1e}", *macs, *parameters
