"""An adb server with one phone, which is this machine: as much of the protocol as a deployment takes.

A request is four hexadecimal digits of length and a text; the answer OKAY, or FAIL and a text of the same
form. After `host:tport:serial:S` a connection talks to the phone, whose service `shell,v2,raw:` runs a
command and speaks in packets of one byte kind and four bytes length, little-endian.
"""

from __future__ import annotations

import contextlib
import socket
import socketserver
import struct
import subprocess
import threading
from collections.abc import Iterator

STDIN, STDOUT, STDERR, EXIT, CLOSE_STDIN = range(5)


class _Phone(socketserver.BaseRequestHandler):
    server: AdbPeer

    def handle(self) -> None:
        with contextlib.suppress(OSError, EOFError):
            while self._serve(self._take(int(self._take(4), 16)).decode()):
                pass

    def _serve(self, request: str) -> bool:
        """Answer one request; whether another may follow on this connection."""
        if request == "host:version":
            self.request.sendall(b"OKAY00040029")
            return False
        if request == f"host:tport:serial:{self.server.serial}":
            self.request.sendall(b"OKAY" + struct.pack("<Q", 1))
            return True
        if request.startswith("shell,v2,raw:"):
            self.request.sendall(b"OKAY")
            self._shell(request.removeprefix("shell,v2,raw:"))
            return False
        text = f"device {request.rpartition(':')[2]!r} not found".encode()
        self.request.sendall(b"FAIL" + f"{len(text):04x}".encode() + text)
        return False

    def _shell(self, command: str) -> None:
        pipe = subprocess.PIPE
        with subprocess.Popen(["sh", "-c", command], stdin=pipe, stdout=pipe, stderr=pipe) as process:
            feeding = threading.Thread(target=self._feed, args=(process,))
            sending = [
                threading.Thread(target=self._send, args=(kind, file))
                for kind, file in ((STDOUT, process.stdout), (STDERR, process.stderr))
            ]
            for thread in (feeding, *sending):
                thread.start()
            for thread in sending:
                thread.join()
            code = process.wait()
            with contextlib.suppress(OSError):
                self._packet(EXIT, bytes([code & 255]))
                self.request.shutdown(socket.SHUT_RDWR)
            feeding.join()

    def _feed(self, process: subprocess.Popen[bytes]) -> None:
        """Packets to standard input. A link that ends closes it too, as the phone's adbd does."""
        with contextlib.suppress(OSError, EOFError):
            while True:
                kind, length = struct.unpack("<BI", self._take(5))
                data = self._take(length)
                if kind == CLOSE_STDIN:
                    break
                self.server.received += length
                if self.server.received > self.server.cut_after:
                    self.request.shutdown(socket.SHUT_RDWR)
                    break
                process.stdin.write(data)
        with contextlib.suppress(OSError):
            process.stdin.close()

    def _send(self, kind: int, file) -> None:
        while data := file.read1(1000):
            with contextlib.suppress(OSError):
                self._packet(kind, data)

    def _packet(self, kind: int, data: bytes) -> None:
        with self.server.turn:
            self.request.sendall(struct.pack("<BI", kind, len(data)) + data)

    def _take(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            part = self.request.recv(count - len(data))
            if not part:
                raise EOFError
            data += part
        return data


class AdbPeer(socketserver.ThreadingTCPServer):
    """The server; after `cut_after` bytes of standard input the phone is unplugged."""

    daemon_threads = True

    def __init__(self, serial: str) -> None:
        super().__init__(("127.0.0.1", 0), _Phone)
        self.serial, self.received, self.cut_after = serial, 0, float("inf")
        self.turn = threading.Lock()

    @property
    def port(self) -> int:
        return self.server_address[1]


@contextlib.contextmanager
def adb_peer(serial: str) -> Iterator[AdbPeer]:
    with AdbPeer(serial) as peer:
        thread = threading.Thread(target=peer.serve_forever, daemon=True)
        thread.start()
        yield peer
        peer.shutdown()
        thread.join()
