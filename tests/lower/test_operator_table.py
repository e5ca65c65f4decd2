"""The table of operators in the documentation is what the official cases say today."""

from __future__ import annotations

from pathlib import Path

from operator_table import table

_PAGE = Path(__file__).parents[2] / "docs" / "operators.md"


def test_the_table_of_operators_is_up_to_date() -> None:
    assert _PAGE.read_text() == table(), "run: python tests/support/operator_table.py > docs/operators.md"
