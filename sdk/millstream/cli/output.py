"""What commands print: tables and headings for people, JSON for programs."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

#: Of a pipe or a file, which has no width: wide enough that no row is folded.
_PIPE_WIDTH = 200

OK = Text("ok", style="green")
FAILED = Text("FAILED", style="bold red")


def console() -> Console:
    """Standard output as it is now. What is printed is text, never markup."""
    made = Console(markup=False, highlight=False, emoji=False)
    if not made.is_terminal:
        made.width = _PIPE_WIDTH
    return made


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], title: str = "") -> Table:
    """A table; numbers stand at the right of their column."""
    made = Table(box=SIMPLE_HEAD, title=title or None, title_justify="left", pad_edge=False)
    kept = [tuple(row) for row in rows]
    for place, column in enumerate(columns):
        numeric = bool(kept) and all(isinstance(row[place], int | float) for row in kept)
        made.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in kept:
        made.add_row(*(_cell(value) for value in row))
    return made


def facts(pairs: Mapping[str, object], title: str = "") -> Table:
    """Name and value, one pair a line; an empty value is left out."""
    made = Table(box=None, show_header=False, title=title or None, title_justify="left", pad_edge=False)
    for name, value in pairs.items():
        if value not in (None, "", (), {}):
            made.add_row(Text(name, style="dim"), _cell(value))
    return made


def print_json(document: object) -> None:
    """One JSON document on standard output; NaN and infinity become null, which JSON has instead."""
    print(json.dumps(_plain(document), indent=1, ensure_ascii=False, allow_nan=False))


def json_line(document: object) -> str:
    """The document on one line."""
    return json.dumps(_plain(document), ensure_ascii=False, allow_nan=False)


def _cell(value: object) -> Text | str:
    if isinstance(value, Text):
        return value
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
