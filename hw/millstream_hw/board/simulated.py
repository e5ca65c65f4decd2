"""A board without the board: its circuit and its serial line in Verilator, at a pseudo-terminal that a
program opens as it opens any serial port."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tty
from collections.abc import Iterator, Mapping
from pathlib import Path

from millstream_hw import verilator
from millstream_hw.board.files import SERIAL, serial_files
from millstream_hw.circuit import Circuit

#: A bit is short, so that the line is not most of what is simulated.
CLOCKS_PER_BIT = 8


def compile_board(
    folder: str, sources: Mapping[str, bytes], circuit: Circuit, identity: bytes, load: bytes
) -> None:
    """Compile a circuit with `sources` behind its serial line; everything goes into `folder`.

    Raises ToolMissing, ToolFailed.
    """
    everything = {**sources, **serial_files(circuit, identity, load, CLOCKS_PER_BIT)}
    for name, data in everything.items():
        Path(folder, name).write_bytes(data)
    names = sorted(name for name in everything if name.endswith(".v"))
    verilator.compile_simulator(folder, names, verilator.LINE, SERIAL)


def start(folder: str, line: int, clocks_per_bit: float = CLOCKS_PER_BIT) -> subprocess.Popen[bytes]:
    """What `compile_board` left in `folder`, running: it hears and speaks bytes at the file descriptor
    `line`, and ends when that does. `clocks_per_bit` is how long the other end of the line takes for a
    bit."""
    program = os.path.join(os.path.abspath(folder), verilator.binary(SERIAL))
    return subprocess.Popen([program, str(clocks_per_bit)], cwd=folder, stdin=line, stdout=line)


@contextlib.contextmanager
def terminal() -> Iterator[tuple[int, str]]:
    """A pseudo-terminal that passes bytes as they are: the descriptor of a board's side, and the port that
    the other side opens."""
    board, port = os.openpty()
    try:
        tty.setraw(port)
        yield board, os.ttyname(port)
    finally:
        os.close(board)
        os.close(port)


@contextlib.contextmanager
def running(folder: str) -> Iterator[str]:
    """The compiled board of `folder` at work; gives the name of its port."""
    with terminal() as (line, port):
        process = start(folder, line)
        try:
            yield port
        finally:
            process.kill()
            process.wait()
