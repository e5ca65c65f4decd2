"""The run half of a circuit on a board, behind a serial line.

The board is loaded with its bitstream beforehand. Which port it is at, only the user knows: the variable
MILLSTREAM_SERIAL_PORT says it, and nothing is tried without. `board.json` holds the speed of the line and the
identity that the board must answer with, `load.bin` the constants of a board that wakes up without them.
States travel with every frame, so that streams, pools and snapshots are what they are everywhere; one board
serves all streams in turn.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping

from millstream_runtime import machine
from millstream_runtime.backends.circuit import AROUND, PORTS
from millstream_runtime.backends.circuit.ports import read_ports
from millstream_runtime.backends.circuit.step import CircuitStep, host_part
from millstream_runtime.backends.serial.board import FILE, LOAD, read_board
from millstream_runtime.errors import BackendRefused
from millstream_runtime.spec import ModelSpec, TargetSpec

PORT_VARIABLE = "MILLSTREAM_SERIAL_PORT"
_INSTALL = "pip install 'millstream[serial]'"


def missing() -> str:
    """Empty when pyserial is installed, else the line that installs it."""
    return "" if importlib.util.find_spec("serial") else _INSTALL


def open(files: Mapping[str, bytes], spec: ModelSpec, target: TargetSpec) -> CircuitStep:
    """Open the port that the user named. Raises BackendRefused when none is, and as `open_at`."""
    port = os.environ.get(PORT_VARIABLE, "")
    if not port:
        raise BackendRefused(
            "no serial port is named",
            why=f"{PORT_VARIABLE} is not set",
            fix=f"set it to where the board is, such as {PORT_VARIABLE}=/dev/ttyUSB0",
        )
    return open_at(port, files, spec, target)


def open_at(port: str, files: Mapping[str, bytes], spec: ModelSpec, target: TargetSpec) -> CircuitStep:
    """Open a port, ask the board what it holds, and load the constants that it lacks.

    Raises BackendRefused when the port does not open, when nothing answers there, or another circuit;
    BackendMissing when the step has a part for onnxruntime; MachineMismatch, PlanInvalid.
    """
    from millstream_runtime.backends.serial.link import Link  # pyserial is an optional library

    machine.check(target.machine)
    ports = read_ports(files[PORTS], spec)
    board = read_board(files[FILE])
    around = host_part(files.get(AROUND))
    link = Link(port, board, files.get(LOAD, b""), ports.words_in, ports.words_out)
    return CircuitStep(spec, ports, link, around)
