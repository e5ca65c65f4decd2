"""Pieces of HTML. Whatever comes from a bundle is escaped here, where it enters."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

_NUMBER = ' class="number"'

#: A cell: text, or a number that stands at the right.
Cell = str | int | float | None


def escaped(text: object) -> str:
    """Text that HTML shows as it is, also inside an attribute."""
    return html.escape(str(text))


def section(title: str, note: str, *parts: str) -> str:
    """A heading, a sentence on what is seen, and markup."""
    said = f'<p class="note">{escaped(note)}</p>' if note else ""
    return f"<section><h2>{escaped(title)}</h2>{said}{''.join(parts)}</section>"


def table(columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> str:
    """A table that scrolls sideways by itself where the screen is narrow."""
    kept = [tuple(row) for row in rows]
    numeric = [
        bool(kept) and all(isinstance(row[place], int | float) for row in kept)
        for place in range(len(columns))
    ]
    head = "".join(
        f"<th{_NUMBER if right else ''}>{escaped(column)}</th>"
        for column, right in zip(columns, numeric, strict=True)
    )
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in kept)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def tiles(facts: Iterable[tuple[str, str]]) -> str:
    """A few large figures side by side: (figure, what it is)."""
    each = (f"<div><b>{escaped(figure)}</b><span>{escaped(what)}</span></div>" for figure, what in facts)
    return f'<div class="tiles">{"".join(each)}</div>'


def parts(title: str, sizes: Sequence[tuple[str, int]], unit: str = "B") -> str:
    """A bar that is divided as the sizes are, and a legend in the same colours; empty parts are left out."""
    kept = [(name, size) for name, size in sizes if size]
    total = sum(size for _, size in kept)
    if not total:
        return f"<h3>{escaped(title)}: none</h3>"
    pieces = "".join(
        f'<i class="c{place % 6}" style="flex-grow:{size}" title="{escaped(name)}: {size:,} {unit}"></i>'
        for place, (name, size) in enumerate(kept)
    )
    legend = "".join(
        f'<li><i class="c{place % 6}"></i>{escaped(name)} <b>{size:,} {unit}</b></li>'
        for place, (name, size) in enumerate(kept)
    )
    head = f"<h3>{escaped(title)}: {total:,} {unit}</h3>"
    return f'{head}<div class="parts">{pieces}</div><ul class="legend">{legend}</ul>'


def mark(passed: bool) -> str:
    """Passed or not, in a sign that needs no colour."""
    return '<b class="ok">✓</b>' if passed else '<b class="failed">✗ FAILED</b>'


def number(value: float) -> str:
    """Three digits, or all before the point."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _cell(value: Cell) -> str:
    if isinstance(value, int | float):
        shown = f"{value:,}" if isinstance(value, int) else number(value)
        return f"<td{_NUMBER}>{shown}</td>"
    return f"<td>{escaped(value or '')}</td>"
