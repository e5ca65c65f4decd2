"""A report as one HTML page."""

from __future__ import annotations

from collections.abc import Iterator

from millstream.report import Report
from millstream.report.page import sections
from millstream.report.page.document import document


def page(report: Report) -> str:
    """The page; the same figures give the same text."""
    return document(f"{report.model}: what Millstream knows", _sections(report))


def _sections(report: Report) -> Iterator[str]:
    yield sections.overview(report)
    yield sections.ladder(report)
    yield sections.speed(report)
    yield sections.memory(report)
    yield sections.model(report)
    if report.drifts:
        yield sections.drift(report)
    if report.states:
        yield sections.state_dtypes(report)
    if report.search:
        yield sections.search(report)
    if report.quantization:
        yield sections.quantization(report)
    if report.confusion:
        yield sections.predictions(report.confusion)
    yield sections.targets(report)
