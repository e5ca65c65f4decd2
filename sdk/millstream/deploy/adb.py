"""A device behind `adb`, through the host's adb server and the library adbutils.

Commands run by adb's second shell protocol, which keeps standard output, standard error and the exit code
apart and can close standard input: packets of one byte kind, four bytes length, little-endian, and the data.
"""

from __future__ import annotations

import importlib
import shlex
import socket
import struct
import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from millstream.deploy.connection import Done
from millstream.deploy.errors import DeviceUnreachable, TransferBroken
from millstream.errors import ToolMissing

_STDIN, _STDOUT, _STDERR, _EXIT, _CLOSE_STDIN = range(5)
_HEAD = struct.Struct("<BI")
_PIECE = 2**15


@dataclass(frozen=True)
class Adb:
    """See `connection.Connection`. The server is the one that adb's own variables name (ADB_SERVER_SOCKET,
    ANDROID_ADB_SERVER_PORT), or the usual one."""

    serial: str

    @property
    def name(self) -> str:
        return f"adb:{self.serial}"

    @property
    def home(self) -> str:
        # The one folder that adb's user may write and run programs in.
        return "/data/local/tmp/"

    def run(self, script: str, *arguments: str, given: bytes = b"") -> Done:
        adbutils = _library()
        remote = " ".join(map(shlex.quote, ("sh", "-c", script, "sh", *arguments)))
        try:
            opened = adbutils.adb.device(serial=self.serial).open_transport()
            opened.send_command(f"shell,v2,raw:{remote}")
            opened.check_okay()
        except (adbutils.AdbError, adbutils.AdbTimeout, OSError) as error:
            raise DeviceUnreachable(
                "the device cannot be reached",
                where=self.name,
                why=str(error),
                fix="look at `adb devices`: is it plugged in, authorised, and is its Android 7 or newer?",
            ) from error
        with opened:
            return self._exchange(opened.conn, given)

    def _exchange(self, link: socket.socket, given: bytes) -> Done:
        """Send and read at once: a device that answers before all has come must not wait for us."""
        link.settimeout(None)
        sending = threading.Thread(target=_send, args=(link, given), daemon=True)
        sending.start()
        written: dict[int, bytearray] = {_STDOUT: bytearray(), _STDERR: bytearray()}
        while True:
            kind, data = self._packet(link)
            if kind == _EXIT:
                code = data[0]
                break
            if kind in written:
                written[kind] += data
        with suppress(OSError):
            link.shutdown(socket.SHUT_RDWR)
        sending.join()
        return Done(code, bytes(written[_STDOUT]), written[_STDERR].decode(errors="replace"))

    def _packet(self, link: socket.socket) -> tuple[int, bytes]:
        kind, length = _HEAD.unpack(self._take(link, _HEAD.size))
        return kind, self._take(link, length)

    def _take(self, link: socket.socket, count: int) -> bytes:
        data = bytearray()
        while len(data) < count:
            try:
                part = link.recv(count - len(data))
            except OSError:
                part = b""
            if not part:
                raise TransferBroken(
                    "the connection to the device broke",
                    where=self.name,
                    why="adb closed it before the command had ended",
                    fix="deploy again; the version that was there is unchanged",
                )
            data += part
        return bytes(data)


def _library() -> Any:
    try:
        return importlib.import_module("adbutils")
    except ModuleNotFoundError as error:
        raise ToolMissing("adbutils is not installed", fix="pip install 'millstream[adb]'") from error


def _send(link: Any, given: bytes) -> None:
    with suppress(OSError):
        for start in range(0, len(given), _PIECE):
            piece = given[start : start + _PIECE]
            link.sendall(_HEAD.pack(_STDIN, len(piece)) + piece)
        link.sendall(_HEAD.pack(_CLOSE_STDIN, 0))
