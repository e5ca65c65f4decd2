"""The simulated circuit as a process: words go in through its standard input, as bytes through the port of a
board, and answers come out of its standard output."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
import threading
import weakref
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from millstream_runtime.errors import BackendRefused


class Simulator:
    """A running simulator, ended when nobody holds it any more. Threads take turns."""

    def __init__(self, files: Mapping[str, bytes], program: str, words_out: int) -> None:
        """Start `program`, which finds the other files beside it. Raises BackendRefused."""
        self._answer = bytearray(2 * words_out)
        self._turn = threading.Lock()
        room = tempfile.TemporaryDirectory(prefix="millstream-")
        for name, data in files.items():
            Path(room.name, name).write_bytes(data)
        binary = Path(room.name, program)
        try:
            binary.chmod(0o700)
            self._process = subprocess.Popen(
                [str(binary)], cwd=room.name, stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
        except OSError as error:
            room.cleanup()
            raise BackendRefused("the circuit's simulator does not start", why=str(error)) from error
        weakref.finalize(self, _end, self._process, room)

    def exchange(self, frame: np.ndarray) -> np.ndarray:
        """The answer (words_out,) int16 to a frame (words_in,) int16, valid until the next one.

        Raises BackendRefused when the simulator has ended.
        """
        sent, received = self._process.stdin, self._process.stdout
        if sent is None or received is None:
            raise ValueError("a process without pipes")
        with self._turn:
            try:
                sent.write(frame.tobytes())
                sent.flush()
                count = received.readinto(self._answer)  # type: ignore[attr-defined]
            except OSError:
                count = 0
            if count != len(self._answer):
                raise BackendRefused("the circuit's simulator has ended", why=f"code {self._process.poll()}")
            return np.frombuffer(bytes(self._answer), "<i2")


def _end(process: subprocess.Popen[bytes], room: tempfile.TemporaryDirectory[str]) -> None:
    """Closing its input ends it."""
    with contextlib.suppress(OSError):
        if process.stdin:
            process.stdin.close()
    process.wait()
    if process.stdout:
        process.stdout.close()
    room.cleanup()
