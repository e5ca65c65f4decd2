"""The host's side of the serial line to a board; `wire.py` says what passes over it."""

from __future__ import annotations

import threading
import time

import numpy as np
import serial

from millstream_runtime.backends.serial import wire
from millstream_runtime.backends.serial.board import Board
from millstream_runtime.errors import BackendRefused

#: Seconds beyond what the bytes take by themselves: adapters on USB hold bytes back, and a host may be busy.
_PATIENCE = 1.0
#: A frame is sent so often before the board is given up.
_ATTEMPTS = 4
_BITS_OF_A_BYTE = 10


class Link:
    """An open line to a board that holds the right circuit; closed when nobody holds it any more. Threads
    take turns."""

    def __init__(self, port: str, board: Board, words_in: int, words_out: int) -> None:
        """Open `port`. Raises BackendRefused."""
        self._port = port
        self._board = board
        self._bytes_in, self._bytes_out = 2 * words_in, 2 * words_out
        self._number = 0
        self._turn = threading.Lock()
        most = max(self._bytes_in, self._bytes_out, wire.IDENTITY_BYTES)
        self._patience = _PATIENCE + 2 * _BITS_OF_A_BYTE * wire.length(most) / board.baud
        try:
            self._line = serial.Serial(
                port, board.baud, timeout=self._patience, write_timeout=self._patience, exclusive=True
            )
        except (OSError, ValueError) as error:
            raise BackendRefused("the serial port does not open", where=port, why=str(error)) from error
        try:
            if not any(self._resynchronize() for _ in range(_ATTEMPTS)):
                raise self._silent()
        except BackendRefused:
            self._line.close()
            raise

    def exchange(self, frame: np.ndarray) -> np.ndarray:
        """The answer (words_out,) int16 to a frame (words_in,) int16.

        A damaged message is sent again: the board keeps nothing from one frame to the next. Raises
        BackendRefused when the board has gone, or holds another circuit by now.
        """
        with self._turn:
            for _ in range(_ATTEMPTS):
                answer = self._ask(frame.tobytes())
                if answer is not None:
                    return np.frombuffer(answer, "<i2")
                self._resynchronize()
        raise self._silent()

    def _ask(self, frame: bytes) -> bytes | None:
        """The payload of the answer to a frame, or None when none came whole."""
        number = self._next_number()
        self._say(wire.message(wire.FRAME, number, frame))
        first = self._hear(1)
        if first != bytes([wire.FRAME]):
            return None
        return wire.payload(first + self._hear(wire.length(self._bytes_out) - 1), wire.FRAME, number)

    def _resynchronize(self) -> bool:
        """End whatever the board believes to be in, and pass over what it still says; False when no sense
        comes of it. Raises BackendRefused when it holds another circuit."""
        number = self._next_number()
        self._say(wire.flush(self._bytes_in) + wire.message(wire.IDENTIFY, number, b""))
        size = wire.length(wire.IDENTITY_BYTES)
        heard, end = b"", time.monotonic() + self._patience
        while time.monotonic() < end:
            heard = (heard + self._hear(1))[-size:]
            found = wire.payload(heard, wire.IDENTIFY, number)
            if found is not None and len(heard) == size:
                self._check(found)
                return True
        return False

    def _next_number(self) -> int:
        """One that no answer on its way has: a late one is known by it."""
        self._number = (self._number + 1) % 256
        return self._number

    def _say(self, message: bytes) -> None:
        try:
            self._line.write(message)
        except serial.SerialTimeoutException:
            return  # What did not go out in time gets no answer that makes sense, and that is seen.
        except OSError as error:
            raise self._gone(error) from error

    def _hear(self, most: int) -> bytes:
        """So many bytes, or those that came within the time that they may take."""
        try:
            return self._line.read(most)
        except OSError as error:
            raise self._gone(error) from error

    def _check(self, identity: bytes) -> None:
        if identity != self._board.identity:
            raise BackendRefused(
                "the board holds another circuit",
                where=self._port,
                why=f"its identity is {identity.hex()[:16]}..., not {self._board.identity.hex()[:16]}...",
                fix="load the bitstream of this model: millstream fpga build --board, fpga synth",
            )

    def _gone(self, error: OSError) -> BackendRefused:
        return BackendRefused("the serial port is gone", where=self._port, why=str(error))

    def _silent(self) -> BackendRefused:
        return BackendRefused(
            "no board answers",
            where=self._port,
            why=f"nothing that makes sense came at {self._board.baud:,} baud",
            fix="load the bitstream, and see that it is the board's port",
        )
