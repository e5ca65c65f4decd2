"""Many clients on one loaded model, over a Unix socket: each connection is a stream of its own.

Messages, both ways: four bytes length of the body, little-endian, one byte kind, the body.

| kind | from | body |
|---|---|---|
| 1 `FRAMES` | client | rows, as `rows` says |
| 2 `END` | client | nothing: the stream is over, drain the look-ahead |
| 16 `HELLO` | server | JSON: the model, first of all |
| 17 `OUTPUTS` | server | rows |
| 18 `ENDED` | server | JSON: how many frames were taken and outputs given; then the connection closes |
| 19 `ERROR` | server | JSON: what, where, why and fix; then the connection closes |

Every `FRAMES` and `END` is answered by one `OUTPUTS`, in order, which may be empty. A server takes the next
message of a client after it has sent the answer to the one before, so that a client that does not read is not
read from: its own writes stop, and nobody else's.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import socket
import stat
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from millstream_runtime import rows, strict_json
from millstream_runtime.errors import (
    AddressInvalid,
    AddressTaken,
    MessageInvalid,
    MillstreamError,
    ServerFull,
    ServerStopped,
)
from millstream_runtime.model import Model
from millstream_runtime.nonfinite import Policy, refuse

FRAMES, END, HELLO, OUTPUTS, ENDED, ERROR = 1, 2, 16, 17, 18, 19
HEAD = struct.Struct("<IB")
#: The largest body of a message that a server takes.
MAX_BODY = 2**24
#: How many clients a server takes at once.
MAX_CLIENTS = 1024
_SCHEME = "unix:"
_BACKLOG = 256
#: How long a client that does not read is waited for when the server ends, in seconds.
_PATIENCE_S = 1.0
_BREATH_S = 0.05
#: The signals that end `serve`.
_ENDING = (signal.SIGINT, signal.SIGTERM)


def address(text: str) -> str:
    """The path in `unix:PATH`. Raises AddressInvalid."""
    path = text.removeprefix(_SCHEME)
    if path == text or not path:
        raise AddressInvalid(
            "no address to serve at", where=text, fix="give unix:PATH, such as unix:kws.sock"
        )
    return path


def serve(model: Model, path: str, nonfinite: Policy = refuse) -> None:
    """Serve until SIGINT or SIGTERM comes, which only the main thread can be told of.

    Raises AddressTaken, AddressInvalid.
    """
    server = Server(model, path, nonfinite)
    with _stopping(server):
        server.run()


@contextlib.contextmanager
def _stopping(server: Server) -> Iterator[None]:
    """Signals end the server, at whatever moment they come.

    The main thread looks at a signal only between two instructions of Python: one that comes as `accept`
    begins, or that another thread was given, would wait for the next client. So the interpreter itself rings
    the bell.
    """
    bell = server.bell()
    before = {number: signal.signal(number, _heard) for number in _ENDING}
    rung = signal.set_wakeup_fd(bell.fileno(), warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(rung)
        for number, handler in before.items():
            signal.signal(number, handler)
        bell.close()


def _heard(*_: object) -> None:
    """The bell has been rung."""


@dataclass
class Server:
    """A model at a socket that this user alone may open. Raises AddressTaken, AddressInvalid."""

    model: Model
    path: str
    nonfinite: Policy = refuse
    max_clients: int = MAX_CLIENTS
    _clients: dict[socket.socket, threading.Thread] = field(default_factory=dict)
    _changing: threading.Lock = field(default_factory=threading.Lock)
    _stopped: bool = False

    def __post_init__(self) -> None:
        self._row, self._out = rows.input_row(self.model.spec), rows.output_row(self.model.spec)
        self._bell, self._ear = socket.socketpair()
        self._bell.setblocking(False)
        self._door = _listen(self.path)

    def stop(self) -> None:
        """End `run`, from any thread."""
        self._bell.send(bytes([signal.SIGTERM]))

    def bell(self) -> socket.socket:
        """What ends `run` when the number of a signal that ends programs is written to it; to be closed."""
        return self._bell.dup()

    def run(self) -> None:
        """Take clients until `stop` is called; the streams that are open then end with ServerStopped."""
        waiter = threading.Thread(target=self._wait_for_bell, daemon=True)
        waiter.start()
        try:
            while True:
                try:
                    client, _ = self._door.accept()
                except OSError:
                    if self._stopped:
                        break
                    time.sleep(_BREATH_S)  # no descriptor is free before a client leaves
                    continue
                self._admit(client)
        finally:
            self.stop()
            waiter.join()
            self._close()

    def _wait_for_bell(self) -> None:
        while self._ear.recv(1)[0] not in _ENDING:
            pass
        self._stopped = True
        with contextlib.suppress(OSError):
            self._door.shutdown(socket.SHUT_RDWR)

    def _admit(self, client: socket.socket) -> None:
        with self._changing:
            if self._stopped or len(self._clients) >= self.max_clients:
                full = ServerFull(f"{self.max_clients} clients are connected", fix="wait until one leaves")
                client.settimeout(_PATIENCE_S)
                with client, contextlib.suppress(OSError):
                    _send(client, ERROR, strict_json.dumps(_told(full)))
                return
            thread = threading.Thread(target=self._attend, args=(client,), daemon=True)
            self._clients[client] = thread
        thread.start()

    def _attend(self, client: socket.socket) -> None:
        """One client from its first message to its last; what happens to it touches nobody else."""
        try:
            with contextlib.suppress(OSError), client:
                try:
                    self._stream(client)
                except MillstreamError as error:
                    told = _stopped() if self._stopped else error
                    _send(client, ERROR, strict_json.dumps(_told(told)))
                _drain(client)
        finally:
            with self._changing:
                self._clients.pop(client, None)

    def _stream(self, client: socket.socket) -> None:
        _send(client, HELLO, strict_json.dumps(self._hello()))
        given = 0
        with self.model.stream(self.nonfinite) as stream:
            for kind, body in _messages(client):
                if kind == END:
                    results = stream.flush()
                    _send(client, OUTPUTS, rows.encoded(results, self._out))
                    counts = {"frames": stream.frames, "outputs": given + len(results)}
                    _send(client, ENDED, strict_json.dumps(counts))
                    return
                results = stream.push(*rows.samples(self._whole(kind, body), self._row))
                given += len(results)
                _send(client, OUTPUTS, rows.encoded(results, self._out))
        if self._stopped:
            raise _stopped()

    def _whole(self, kind: int, body: bytes) -> bytes:
        if kind != FRAMES:
            raise MessageInvalid(f"a message of kind {kind}", fix="send FRAMES (1) or END (2)")
        if len(body) % self._row.itemsize:
            raise MessageInvalid(
                f"{len(body)} bytes of frames", why=f"a row has {self._row.itemsize}", fix="send whole rows"
            )
        return body

    def _hello(self) -> dict[str, Any]:
        spec = self.model.spec
        cut = 1 if spec.framing else 0
        return {
            "model": spec.name,
            "model_sha256": self.model.manifest.model_sha256,
            "target": self.model.target.name,
            "inputs": [{"name": t.name, "dtype": t.dtype, "shape": t.shape[cut:]} for t in spec.inputs],
            "outputs": [{"name": t.name, "dtype": t.dtype, "shape": t.shape} for t in spec.outputs],
            "samples": spec.framing is not None,
            "sample_rate": spec.sample_rate,
            "look_ahead": spec.look_ahead,
            "labels": spec.labels,
        }

    def _close(self) -> None:
        """No more clients; those that are here are told, and waited for as long as they read."""
        self._door.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)
        with self._changing:
            staying = dict(self._clients)
        for client in staying:
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RD)
        for client, thread in staying.items():
            thread.join(_PATIENCE_S)
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
            thread.join()
        for end in (self._bell, self._ear):
            end.close()


def _stopped() -> ServerStopped:
    return ServerStopped("the server ends", fix="connect again; the stream begins anew")


def _listen(path: str) -> socket.socket:
    """A socket that nobody but this user can open, in place of one that a dead server left."""
    _clear(path)
    door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        door.bind(path)
        door.listen(_BACKLOG)
    except OSError as error:
        door.close()
        kind = AddressTaken if error.errno == errno.EADDRINUSE else AddressInvalid
        raise kind("the socket cannot be made", where=path, why=str(error)) from error
    finally:
        os.umask(before)
    return door


def _clear(path: str) -> None:
    """Remove a socket that nobody listens at. Raises AddressTaken for any other file."""
    try:
        mode = os.lstat(path).st_mode
    except OSError:
        return
    if not stat.S_ISSOCK(mode):
        raise AddressTaken("a file is in the way", where=path, fix="choose another path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as knocking:
        try:
            knocking.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
        except OSError as error:
            raise AddressTaken(
                "the socket that is there cannot be tried", where=path, why=str(error)
            ) from error
        else:
            raise AddressTaken("another server listens there", where=path, fix="choose another path")


def _messages(client: socket.socket) -> Iterator[tuple[int, bytes]]:
    """Kind and body, until the client closes. Raises MessageInvalid when it closes within a message."""
    while head := _take(client, HEAD.size):
        length, kind = HEAD.unpack(head)
        if length > MAX_BODY:
            raise MessageInvalid(f"a message of {length} bytes", why=f"the limit is {MAX_BODY}")
        yield kind, _take(client, length, began=True)


def _take(client: socket.socket, count: int, began: bool = False) -> bytes:
    """So many bytes, or none at a clean end."""
    data = bytearray()
    while len(data) < count:
        part = client.recv(min(count - len(data), 2**16))
        if not part:
            if data or began:
                raise MessageInvalid("the connection closed within a message")
            break
        data += part
    return bytes(data)


def _send(client: socket.socket, kind: int, body: bytes) -> None:
    client.sendall(HEAD.pack(len(body), kind) + body)


def _drain(client: socket.socket) -> None:
    """Wait until the client has read what it was told: a socket that closes on unread bytes resets, and the
    other side would lose the last message."""
    client.shutdown(socket.SHUT_WR)
    client.settimeout(_PATIENCE_S)
    while client.recv(2**16):
        pass


def _told(error: MillstreamError) -> dict[str, str]:
    details = {"what": error.what, "where": error.where, "why": error.why, "fix": error.fix}
    return {"kind": type(error).__name__, **details}
