"""A report as one HTML page that asks for nothing: no script, no font, no picture from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from millstream.report import Report
from millstream.report.page import sections
from millstream.report.page.markup import escaped

_STYLE = Path(__file__).with_name("style.css")


def page(report: Report) -> str:
    """The page; the same figures give the same text."""
    title = f"{report.model}: what Millstream knows"
    return "\n".join(
        (
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            f"<title>{escaped(title)}</title><style>{_STYLE.read_text(encoding='utf-8')}</style></head>",
            "<body><main>",
            *_sections(report),
            "</main></body></html>\n",
        )
    )


def _sections(report: Report) -> Iterator[str]:
    yield sections.overview(report)
    yield sections.ladder(report)
    yield sections.speed(report)
    yield sections.memory(report)
    yield sections.model(report)
    if report.drifts:
        yield sections.drift(report)
    if report.quantization:
        yield sections.quantization(report)
    if report.confusion:
        yield sections.predictions(report.confusion)
    yield sections.targets(report)
