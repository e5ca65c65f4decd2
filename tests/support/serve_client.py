"""A client of `millstream run --serve`, written from the description of its messages and nothing else."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FRAMES, END, HELLO, OUTPUTS, ENDED, ERROR = 1, 2, 16, 17, 18, 19
_PATIENCE_S = 30.0


def connected(path: Path) -> socket.socket:
    """A socket whose other end is taken at that path, by a server that may only be starting."""
    end = time.monotonic() + _PATIENCE_S
    while True:
        found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        found.settimeout(20)
        try:
            found.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            found.close()
            if time.monotonic() > end:
                raise
            time.sleep(0.02)
        else:
            return found


@contextlib.contextmanager
def ended(process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """A process that does not outlive the test, whatever fails in it."""
    with process:
        try:
            yield process
        finally:
            process.kill()


class Client:
    """One connection, one stream."""

    def __init__(self, path: Path) -> None:
        self.socket = connected(path)

    def hello(self) -> dict[str, Any]:
        kind, body = self.read()
        assert kind == HELLO, body
        return json.loads(body)

    def send(self, kind: int, body: bytes = b"") -> None:
        self.socket.sendall(struct.pack("<IB", len(body), kind) + body)

    def read(self) -> tuple[int, bytes]:
        """One message; kind 0 when the server closed."""
        head = self._take(5)
        if not head:
            return 0, b""
        length, kind = struct.unpack("<IB", head)
        return kind, self._take(length)

    def error(self) -> str:
        """The kind of the error that ends the stream."""
        while True:
            kind, body = self.read()
            assert kind in (OUTPUTS, ERROR), kind
            if kind == ERROR:
                assert self.read() == (0, b"")
                return json.loads(body)["kind"]

    def close(self) -> None:
        self.socket.close()

    def _take(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            part = self.socket.recv(count - len(data))
            if not part:
                return data
            data += part
        return data
