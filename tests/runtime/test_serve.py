"""Many clients on one model: nothing is mixed, nobody waits for another, every stream has a clear end."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import stat
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from runtime_builders import centred_sum, contents, counter, frames, running_sum
from serve_client import END, ENDED, FRAMES, OUTPUTS, Client, ended

from millstream.package import write
from millstream_runtime import Model, load
from millstream_runtime.errors import AddressInvalid, AddressTaken
from millstream_runtime.serve import Server, address

SUM, LATE, COUNTER = running_sum(), centred_sum(), counter()
_PATIENCE_S = 10.0
Running = contextlib.AbstractContextManager[subprocess.Popen[bytes]]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Model]:
    folder, found = tmp_path_factory.mktemp("serve"), {}
    for name, example in (("sum", SUM), ("late", LATE), ("counter", COUNTER)):
        write(folder / f"{name}.mill", contents(example))
        found[name] = load(folder / f"{name}.mill")
    return found


@contextlib.contextmanager
def serving(model: Model, path: Path, **options: int) -> Iterator[Path]:
    server = Server(model, str(path), **options)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield path
    finally:
        server.stop()
        thread.join(_PATIENCE_S)
        assert not thread.is_alive()
        assert not path.exists()


def finish(client: Client) -> tuple[bytes, dict]:
    """End the stream: the outputs that still come, and what the server counted."""
    client.send(END)
    rest = b""
    while True:
        kind, body = client.read()
        if kind == ENDED:
            assert client.read() == (0, b"")
            client.close()
            return rest, json.loads(body)
        assert kind == OUTPUTS, body
        rest += body


def test_two_hundred_streams_at_once_are_not_mixed(models: dict[str, Model], tmp_path: Path) -> None:
    begin = threading.Barrier(200)

    def one(number: int) -> None:
        x = frames(SUM, 30 + number % 7, seed=number)
        client = Client(path)
        client.hello()
        begin.wait(60)
        got = b""
        for place in range(0, len(x), 3):
            client.send(FRAMES, x[place : place + 3].tobytes())
            kind, body = client.read()
            assert kind == OUTPUTS
            got += body
        rest, counts = finish(client)
        assert counts == {"frames": len(x), "outputs": len(x)}
        np.testing.assert_array_equal(
            np.frombuffer(got + rest, np.float32).reshape(x.shape), SUM.sequence(x)[0]
        )

    with serving(models["sum"], tmp_path / "s") as path, ThreadPoolExecutor(200) as pool:
        list(pool.map(one, range(200)))


def test_the_end_drains_the_look_ahead(models: dict[str, Model], tmp_path: Path) -> None:
    x = frames(LATE, 9)
    with serving(models["late"], tmp_path / "s") as path:
        client = Client(path)
        assert client.hello()["look_ahead"] == 2
        client.send(FRAMES, x[:1].tobytes())
        assert client.read() == (OUTPUTS, b"")
        client.send(FRAMES, x[1:].tobytes())
        first = client.read()[1]
        rest, counts = finish(client)
    assert counts == {"frames": 9, "outputs": 9}
    np.testing.assert_array_equal(np.frombuffer(first + rest, np.float32).reshape(9, 2), LATE.sequence(x)[0])


def test_several_outputs_stand_side_by_side(models: dict[str, Model], tmp_path: Path) -> None:
    x = frames(COUNTER, 5)
    with serving(models["counter"], tmp_path / "s") as path:
        client = Client(path)
        told = client.hello()
        client.send(FRAMES, x.tobytes())
        got = client.read()[1]
        finish(client)
    row = np.dtype([(t["name"], t["dtype"], tuple(t["shape"])) for t in told["outputs"]])
    found = np.frombuffer(got, row)
    y, even = COUNTER.sequence(x)
    np.testing.assert_array_equal(found["y"], y)
    np.testing.assert_array_equal(found["even"], even)


def test_who_does_not_read_is_not_read_from_and_holds_up_nobody(
    models: dict[str, Model], tmp_path: Path
) -> None:
    piece = frames(SUM, 1000).tobytes()
    message = struct.pack("<IB", len(piece), FRAMES) + piece
    with serving(models["sum"], tmp_path / "s") as path:
        slow = Client(path)
        slow.hello()
        slow.socket.settimeout(0.5)
        sent = 0
        with contextlib.suppress(TimeoutError):
            while sent < 4_000_000:
                sent += slow.socket.send(message[sent % len(message) :])
        # What the kernel holds for one client, both ways; the server itself holds one message.
        assert sent < 4_000_000
        quick = Client(path)
        quick.hello()
        x = frames(SUM, 3)
        quick.send(FRAMES, x.tobytes())
        assert quick.read()[0] == OUTPUTS
        finish(quick)
        slow.close()


def test_clients_that_go_away_leave_the_others_alone(models: dict[str, Model], tmp_path: Path) -> None:
    x = frames(SUM, 20)
    with serving(models["sum"], tmp_path / "s") as path:
        staying = Client(path)
        staying.hello()
        got = b""
        for place in range(20):
            leaving = Client(path)
            if place % 3 == 0:
                leaving.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            leaving.socket.sendall(struct.pack("<IB", 120, FRAMES) + bytes(12 * (place % 11)))
            leaving.close()
            staying.send(FRAMES, x[place : place + 1].tobytes())
            got += staying.read()[1]
        finish(staying)
    np.testing.assert_array_equal(np.frombuffer(got, np.float32).reshape(x.shape), SUM.sequence(x)[0])


@pytest.mark.parametrize(
    ("kind", "body", "error"),
    [
        (7, b"", "MessageInvalid"),
        (FRAMES, bytes(13), "MessageInvalid"),
        (FRAMES, np.full(3, np.nan, np.float32).tobytes(), "NonFiniteInput"),
    ],
)
def test_what_is_wrong_is_told_and_ends_that_stream(
    models: dict[str, Model], tmp_path: Path, kind: int, body: bytes, error: str
) -> None:
    with serving(models["sum"], tmp_path / "s") as path:
        client = Client(path)
        client.hello()
        client.send(kind, body)
        client.send(FRAMES, bytes(12))  # what still comes must not drive the answer out
        assert client.error() == error
        client.close()


def test_a_message_that_is_too_long_or_cut_short(models: dict[str, Model], tmp_path: Path) -> None:
    with serving(models["sum"], tmp_path / "s") as path:
        for head in (
            struct.pack("<IB", 2**24 + 1, FRAMES),
            struct.pack("<IB", 24, FRAMES) + bytes(12),
            b"\1",
        ):
            client = Client(path)
            client.hello()
            client.socket.sendall(head)
            client.socket.shutdown(socket.SHUT_WR)
            assert client.error() == "MessageInvalid"
            client.close()


def test_a_full_server_says_so(models: dict[str, Model], tmp_path: Path) -> None:
    with serving(models["sum"], tmp_path / "s", max_clients=1) as path:
        first = Client(path)
        first.hello()
        second = Client(path)
        assert second.error() == "ServerFull"
        finish(first)
        end = time.monotonic() + _PATIENCE_S
        while time.monotonic() < end:
            third = Client(path)
            if third.read()[0] == 16:
                break
        finish(third)


def test_open_streams_are_told_when_the_server_ends(models: dict[str, Model], tmp_path: Path) -> None:
    with serving(models["sum"], tmp_path / "s") as path:
        client = Client(path)
        client.hello()
        client.send(FRAMES, frames(SUM, 2).tobytes())
        assert client.read()[0] == OUTPUTS
    assert client.error() == "ServerStopped"


def test_the_socket_is_this_users_and_replaces_a_dead_one(models: dict[str, Model], tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with serving(models["sum"], path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        with pytest.raises(AddressTaken, match="another server"):
            Server(models["sum"], str(path))
    path.write_text("not a socket")
    with pytest.raises(AddressTaken, match="in the way"):
        Server(models["sum"], str(path))
    assert path.read_text() == "not a socket"


@pytest.mark.parametrize("text", ["", "unix:", "tcp:80", "kws.sock"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(AddressInvalid):
        address(text)


def test_a_path_that_is_too_long_or_nowhere(models: dict[str, Model], tmp_path: Path) -> None:
    for path in (tmp_path / ("x" * 200), tmp_path / "none" / "s"):
        with pytest.raises(AddressInvalid):
            Server(models["sum"], str(path))


def run(folder: Path, name: str, *arguments: str, stdin: int | None = None) -> Running:
    path = folder / "model.mill"
    write(path, contents(LATE))
    command = [sys.executable, "-m", "millstream_runtime", name, str(path), *arguments]
    pipe = subprocess.PIPE
    return ended(subprocess.Popen(command, stdin=stdin, stdout=pipe, stderr=pipe))


def test_the_runtime_alone_serves_until_it_is_told_to_end(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with run(tmp_path, "serve", f"unix:{path}") as process:
        client = Client(path)
        client.hello()
        process.send_signal(signal.SIGTERM)
        assert client.error() == "ServerStopped"
        assert process.wait(_PATIENCE_S) == 0
    assert not path.exists()


#: Serves in a process where another thread is given the signal, and not the one that waits for clients.
_ELSEWHERE = """
import signal, sys, threading
from millstream_runtime import load
from millstream_runtime.serve import serve

threading.Thread(target=threading.Event().wait, daemon=True).start()
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
serve(load(sys.argv[1]), sys.argv[2])
"""


def test_a_signal_that_another_thread_is_given_ends_it_too(tmp_path: Path) -> None:
    path, bundle = tmp_path / "s", tmp_path / "model.mill"
    write(bundle, contents(LATE))
    command = [sys.executable, "-c", _ELSEWHERE, str(bundle), str(path)]
    with ended(subprocess.Popen(command)) as process:
        client = Client(path)
        client.hello()
        process.send_signal(signal.SIGTERM)
        assert client.error() == "ServerStopped"
        assert process.wait(_PATIENCE_S) == 0


def test_the_runtime_alone_streams_and_tries_a_bundle(tmp_path: Path) -> None:
    x = frames(LATE, 9)
    with run(tmp_path, "stream", stdin=subprocess.PIPE) as process:
        out, errors = process.communicate(x.tobytes() + b"!")
    assert (process.returncode, b"1 of 8 bytes" in errors) == (2, True)
    np.testing.assert_array_equal(np.frombuffer(out, np.float32).reshape(9, 2), LATE.sequence(x)[0])
    with run(tmp_path, "trial", "--frames", "10") as process:
        out, errors = process.communicate()
    report = json.loads(out)
    assert (process.returncode, report["passed"], report["chosen"]) == (0, True, "onnxruntime")
    assert report["median_us"] > 0
