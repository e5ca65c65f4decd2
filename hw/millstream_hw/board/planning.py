"""Whether an engine fits a board: its part must have room for the serial line and the loader too."""

from __future__ import annotations

from millstream_hw import planning
from millstream_hw.board.board import Board
from millstream_hw.board.estimate import around
from millstream_hw.circuit import Circuit
from millstream_hw.planning import Plan


def plan(stateless: Circuit, board: Board, lanes: int | None = None) -> Plan:
    """An engine with the most lanes that fit, or `lanes`, and what is around it on a board. The states of
    `stateless` are on the line."""
    return planning.engine(stateless, board.target, lanes, around(board))


def fitting(stateless: Circuit, board: Board, lanes: int | None = None) -> Plan:
    """`plan`. Raises UnsupportedOperators, and DoesNotFit naming everything that overflows."""
    return planning.fitted(plan(stateless, board, lanes), f"{board.name} with its serial line")
