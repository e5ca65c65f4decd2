"""A whole HTML page that asks for nothing: no script, no font, no picture from elsewhere."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from millstream.report.page.markup import escaped

_STYLE = Path(__file__).with_name("style.css")


def document(title: str, parts: Iterable[str]) -> str:
    """The page around parts that are markup already."""
    return "\n".join(
        (
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            f"<title>{escaped(title)}</title><style>{_STYLE.read_text(encoding='utf-8')}</style></head>",
            "<body><main>",
            *parts,
            "</main></body></html>\n",
        )
    )
