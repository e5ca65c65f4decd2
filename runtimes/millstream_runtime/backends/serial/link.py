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

    def __init__(self, port: str, board: Board, load: bytes, words_in: int, words_out: int) -> None:
        """Open `port`, and give the board what it lacks of `load`. Raises BackendRefused."""
        self._port = port
        self._board = board
        self._bytes_out = 2 * words_out
        self._blocks = wire.blocks(load)
        self._number = 0
        self._turn = threading.Lock()
        self._longest = max([2 * words_in, *map(len, self._blocks)])
        most = max(self._longest, self._bytes_out, wire.ABOUT_BYTES)
        self._patience = _PATIENCE + 2 * _BITS_OF_A_BYTE * wire.length(most) / board.baud
        try:
            self._line = serial.Serial(
                port, board.baud, timeout=self._patience, write_timeout=self._patience, exclusive=True
            )
        except (OSError, ValueError) as error:
            raise BackendRefused("the serial port does not open", where=port, why=str(error)) from error
        try:
            self._begin()
        except BackendRefused:
            self._line.close()
            raise

    def exchange(self, frame: np.ndarray) -> np.ndarray:
        """The answer (words_out,) int16 to a frame (words_in,) int16.

        A damaged message is sent again: the board keeps nothing from one frame to the next. A board that
        lost its constants gets them again. Raises BackendRefused when it has gone, or holds another circuit
        by now.
        """
        with self._turn:
            has = None
            for _ in range(_ATTEMPTS):
                answer = self._ask(wire.FRAME, frame.tobytes(), self._bytes_out)
                if answer is not None:
                    return np.frombuffer(answer, "<i2")
                has = self._recover()
        raise self._lost(has)

    def _begin(self) -> None:
        """Bring the board to where it takes frames. Raises BackendRefused."""
        has = None
        for _ in range(_ATTEMPTS):
            has = self._recover()
            if has == len(self._blocks):
                return
        raise self._lost(has)

    def _ask(self, command: int, payload: bytes, answer: int) -> bytes | None:
        """The payload, so many bytes, of the answer to a message; None when none came whole."""
        number = self._next_number()
        self._say(wire.message(command, number, payload))
        first = self._hear(1)
        if first != bytes([command]):
            return None
        return wire.payload(first + self._hear(wire.length(answer) - 1), command, number)

    def _recover(self) -> int | None:
        """Resynchronize, and give the board the blocks that it lacks; how many it has then, None when no
        sense comes of it."""
        has = self._resynchronize()
        while has is not None and has < len(self._blocks):
            answer = self._ask(wire.LOAD, self._blocks[has], wire.COUNT_BYTES)
            had, has = has, None if answer is None else wire.counted(answer)
            if has != had + 1:
                break
        return has

    def _resynchronize(self) -> int | None:
        """End whatever the board believes to be in, and pass over what it still says; how many blocks it has,
        None when no sense comes of it. Raises BackendRefused when it holds another circuit."""
        number = self._next_number()
        self._say(wire.flush(self._longest) + wire.message(wire.IDENTIFY, number, b""))
        size = wire.length(wire.ABOUT_BYTES)
        heard, end = b"", time.monotonic() + self._patience
        while time.monotonic() < end:
            heard = (heard + self._hear(1))[-size:]
            found = wire.payload(heard, wire.IDENTIFY, number)
            if found is not None and len(heard) == size:
                self._check(found[: wire.IDENTITY_BYTES])
                return wire.counted(found)
        return None

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
                fix="load the bitstream that was built from this model, where the board is loaded with its "
                "constants with as many lanes: millstream fpga build --board, fpga synth",
            )

    def _gone(self, error: OSError) -> BackendRefused:
        return BackendRefused("the serial port is gone", where=self._port, why=str(error))

    def _lost(self, has: int | None) -> BackendRefused:
        """Why the board is given up that has so many blocks, or said nothing."""
        if has is not None and has < len(self._blocks):
            return BackendRefused(
                "the board does not take its constants",
                where=self._port,
                why=f"it has {has} of {len(self._blocks)} blocks, and takes no more",
                fix="see that nothing resets it, and that the line is not disturbed",
            )
        return BackendRefused(
            "no board answers",
            where=self._port,
            why=f"nothing that makes sense came at {self._board.baud:,} baud",
            fix="load the bitstream, and see that it is the board's port",
        )
