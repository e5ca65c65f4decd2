"""Building: from a bundle to the sources of a circuit, for a part or for a board, written as one folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from millstream_hw import build as builds
from millstream_hw import planning
from millstream_hw.board import files as board_files
from millstream_hw.board import planning as board_planning
from millstream_hw.board.board import Board
from millstream_hw.build import Build
from millstream_hw.engine.files import load_of
from millstream_hw.packing import identity
from millstream_hw.parts import Part
from millstream_runtime.bundle import Bundle


def build(
    bundle: Bundle, part: Part, clock_mhz: float, road: str, lanes: int | None, folder: str
) -> tuple[Build, bool]:
    """The circuit of a bundle by one road; the second result is False when it stood there already.

    Raises UnsupportedOperators, DoesNotFit, FileInTheWay, UsageError.
    """
    plan = planning.fitting(planning.circuit_of(bundle), part, road, lanes, clock_mhz)
    return builds.write(folder, bundle, plan, part, clock_mhz)


def build_for_board(
    bundle: Bundle, board: Board, clock_mhz: float, lanes: int | None, folder: str
) -> tuple[Build, bool]:
    """An engine behind the serial line of a board, its states on the line; the second result as in `build`.

    Raises UnsupportedOperators, DoesNotFit, ClockUnreachable, FileInTheWay.
    """
    circuit = planning.stateless_circuit_of(bundle)
    plan = board_planning.fitting(circuit, board, lanes)
    sources = plan.files()
    load = load_of(sources)
    around = board_files.files(board, circuit, identity(bundle, circuit, load), load, clock_mhz)

    def files() -> Mapping[str, bytes]:
        return {**sources, **around}

    return builds.write(folder, bundle, replace(plan, files=files), board.target, clock_mhz, board.name)
