"""Tables of a build: what was estimated, what was simulated, what was synthesized, kept apart."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from millstream_hw.build import Build
from millstream_hw.simulation import SIMULATION
from millstream_hw.synthesis import SYNTHESIS

COLUMNS = ("", "estimated", "simulated", "synthesized", "the part has")
LAYER_COLUMNS = (
    "layer",
    "kind",
    "in the model",
    "strategy",
    "multipliers",
    "constants",
    "cycles",
    "% of a frame",
)
PAGE = "report.html"
Row = tuple[str, str, str, str, str]


def rows(build: Build) -> list[Row]:
    """One row for each quantity; what is not known yet is a dash."""
    part, guess = build.target, build.estimate
    run, made = build.noted(SIMULATION) or {}, build.noted(SYNTHESIS) or {}
    cycles = run.get("cycles")
    counted = cycles or made.get("cycles")
    fmax = made.get("fmax_mhz")
    return [
        _row("logic tables", guess.tables, None, made.get("tables"), part.tables),
        _row("registers", guess.registers, None, made.get("registers"), part.registers),
        _row("multipliers", guess.multipliers, None, made.get("multipliers"), part.multipliers),
        _row("block RAMs", guess.blocks, None, made.get("blocks"), part.blocks),
        *([_row("SPRAMs", guess.sprams, None, made.get("sprams"), part.sprams)] if part.sprams else []),
        _row("clock, MHz", build.clock_mhz, None, fmax, None),
        _row("cycles a frame", guess.cycles, cycles, made.get("cycles"), None),
        _row(
            "us a frame at that clock",
            guess.microseconds(build.clock_mhz),
            cycles and cycles / build.clock_mhz,
            counted and fmax and counted / fmax,
            None,
        ),
        _row("frames equal bit for bit", None, _frames(run), None, None),
        *([_row("bitstream", None, None, made.get("bitstream"), None)] if build.board else []),
    ]


def layers(build: Build) -> list[tuple[str, ...]]:
    """The estimate layer by layer; no tool tells these apart after synthesis."""
    whole = build.estimate.cycles
    return [
        (
            share.layer,
            share.kind,
            share.origin or "-",
            share.strategy or "-",
            *(_text(number) for number in (share.multipliers, share.words, share.cycles)),
            f"{100 * share.cycles / whole:.1f}",
        )
        for share in build.shares
    ]


def page(build: Build) -> str:
    """The tables as an HTML page that needs nothing else."""
    found = layers(build)
    by_layer = f"<h2>Layer by layer, estimated</h2>\n{_table(LAYER_COLUMNS, found)}" if found else ""
    tools = "; ".join((build.noted(SYNTHESIS) or {}).get("tools", ())) or "nothing was synthesized yet"
    title = escape(build.title)
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{title}</title>
<style>body{{font-family:sans-serif;margin:2em}}td,th{{padding:.3em 1em;border-bottom:1px solid #ccc;
text-align:right}}td:first-child,th:first-child{{text-align:left}}</style>
<h1>{title}</h1>
{_table(COLUMNS, rows(build))}
{by_layer}
<p>{escape(tools)}</p>
</html>
"""


def _table(columns: Sequence[str], found: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = "\n".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in found)
    return f"<table><tr>{head}</tr>\n{body}\n</table>"


def _frames(run: dict) -> str | None:
    if not run:
        return None
    return f"{run['golden_frames']} golden, {run['random_frames']} random, {run['resets']} resets"


def _row(name: str, *cells: object) -> Row:
    a, b, c, d = (_text(cell) for cell in cells)
    return name, a, b, c, d


def _text(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.1f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def columns_of(found: Sequence[Row]) -> dict[str, dict[str, str]]:
    """The rows for JSON: quantity -> column -> text."""
    return {row[0]: dict(zip(COLUMNS[1:], row[1:], strict=True)) for row in found}
