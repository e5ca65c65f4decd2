"""A serial line to a simulated board that can be told to break."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
from collections.abc import Callable, Iterator

from millstream_hw.board import simulated

#: What arrives in place of a byte.
Fault = Callable[[bytes], bytes]


class FaultyLine(threading.Thread):
    """Passes bytes between a host and a board, and counts those of each side in `passed`. `faults` names for
    each side the byte, counted from now, that does not arrive as it was sent, and what arrives in its
    place."""

    def __init__(self, host: int, board: int) -> None:
        super().__init__()
        self.faults: dict[str, tuple[int, Fault]] = {}
        self.passed = {"host": 0, "board": 0}
        self.over = False
        self._ends = {"host": (host, board), "board": (board, host)}

    def run(self) -> None:
        sides = {near: (side, far) for side, (near, far) in self._ends.items()}
        while not self.over:
            for near in select.select(list(sides), [], [], 0.02)[0]:
                side, far = sides[near]
                data = os.read(near, 4096)
                self.passed[side] += len(data)
                os.write(far, self._broken(side, data))

    def _broken(self, side: str, data: bytes) -> bytes:
        if side not in self.faults:
            return data
        place, arrives = self.faults.pop(side)
        if place >= len(data):
            self.faults[side] = (place - len(data), arrives)
            return data
        return data[:place] + arrives(data[place : place + 1]) + data[place + 1 :]


class Bench:
    """A board of a compiled folder at one end of a faulty line; `restart` takes its power away and gives it
    back."""

    def __init__(self, folder: str, far: int, line: FaultyLine, port: str) -> None:
        self.line, self.port = line, port
        self._folder, self._far = folder, far
        self._process = simulated.start(folder, far)

    def restart(self) -> None:
        """The board wakes up as after its configuration."""
        self.stop()
        self._process = simulated.start(self._folder, self._far)

    def stop(self) -> None:
        """Take its power away."""
        self._process.kill()
        self._process.wait()


@contextlib.contextmanager
def bench(folder: str) -> Iterator[Bench]:
    """The simulated board of `folder` at a line that can break; its port is `port`."""
    near, far = socket.socketpair()
    with near, far, simulated.terminal() as (host, port):
        line = FaultyLine(host, near.fileno())
        line.start()
        made = Bench(folder, far.fileno(), line, port)
        try:
            yield made
        finally:
            line.over = True
            line.join()
            made.stop()


def lost(byte: bytes) -> bytes:
    """Nothing arrives."""
    return b""


def flipped(byte: bytes) -> bytes:
    """One bit arrives as the other."""
    return bytes([byte[0] ^ 0x10])


def doubled(byte: bytes) -> bytes:
    """It arrives twice."""
    return 2 * byte
