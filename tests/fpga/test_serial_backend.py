"""A circuit behind a serial line as a backend of the runtime. The board is simulated bit by bit, at a port
that the backend opens as any other."""

import json
import os
import re

import faulty_line
import numpy as np
import pytest
from faulty_line import doubled, flipped, lost

import millstream_runtime
from millstream.verify import verify
from millstream_hw.board import simulated
from millstream_runtime.backends import serial
from millstream_runtime.backends.circuit.ports import read_ports
from millstream_runtime.backends.serial import link, wire
from millstream_runtime.backends.serial.board import Board, read_board
from millstream_runtime.backends.serial.link import Link
from millstream_runtime.errors import BackendRefused, PlanInvalid


@pytest.fixture(scope="module")
def packed(packed_for):
    """The gated recurrence for a board, and the simulated board that proved it: bundle and folder."""
    path, folder, said = packed_for("ulx3s")
    assert f"{serial.PORT_VARIABLE}=PORT" in said
    assert re.search(r"bytes a frame +172\b", said)
    assert "bytes to load" not in said
    return path, folder


@pytest.fixture
def board(packed, monkeypatch):
    """The bundle, with a board at the port that the environment names."""
    with simulated.running(packed[1]) as port:
        monkeypatch.setenv(serial.PORT_VARIABLE, port)
        yield packed[0]


@pytest.mark.slow
def test_streams_pools_and_snapshots_are_those_of_any_backend(board):
    on_board, graph = (millstream_runtime.load(board, backend=name) for name in ("serial", "onnxruntime"))
    x = np.random.default_rng(0).standard_normal((60, 5)).astype(np.float32) * 2
    one, two = on_board.stream(), on_board.stream()
    wanted = graph.stream(), graph.stream()
    for frame, other in zip(x[:30], x[30:], strict=True):
        assert np.array_equal(one.step(frame), wanted[0].step(frame))
        assert np.array_equal(two.step(other), wanted[1].step(other))
    blob = one.save()
    first = [one.step(frame).copy() for frame in x[30:]]
    one.load(blob)
    assert np.array_equal([one.step(frame).copy() for frame in x[30:]], first)
    pools = on_board.streams(3), graph.streams(3)
    for tick in range(10):
        mask = np.array([True, tick % 2 == 0, tick % 3 == 0])
        a, b = (pool.step(x[3 * tick : 3 * tick + 3], active=mask) for pool in pools)
        assert np.array_equal(a[mask], b[mask])


@pytest.mark.slow
@pytest.mark.parametrize("clocks_per_bit", [7.8, 8.2])
def test_ends_of_the_line_may_differ_by_a_few_percent(packed, monkeypatch, clocks_per_bit):
    path, folder = packed
    x = np.random.default_rng(1).standard_normal((10, 5)).astype(np.float32)
    wanted = millstream_runtime.load(path, backend="onnxruntime").stream()
    with simulated.terminal() as (line, port):
        process = simulated.start(folder, line, clocks_per_bit)
        try:
            monkeypatch.setenv(serial.PORT_VARIABLE, port)
            monkeypatch.setattr(link, "_ATTEMPTS", 1)
            stream = millstream_runtime.load(path, backend="serial").stream()
            for frame in x:
                assert np.array_equal(stream.step(frame), wanted.step(frame))
        finally:
            process.kill()
            process.wait()


@pytest.fixture
def faulty(packed, monkeypatch):
    """A line to the simulated board that can be told to break."""
    monkeypatch.setattr(link, "_PATIENCE", 0.3)
    with faulty_line.bench(packed[1]) as bench:
        monkeypatch.setenv(serial.PORT_VARIABLE, bench.port)
        yield bench.line


FAULTS = [
    ("host", 0, lost),
    ("host", 0, flipped),
    ("host", 1, flipped),
    ("host", 20, lost),
    ("host", 21, flipped),
    ("host", 40, doubled),
    ("host", 87, lost),
    ("board", 0, lost),
    ("board", 0, flipped),
    ("board", 1, flipped),
    ("board", 30, flipped),
    ("board", 31, lost),
    ("board", 50, doubled),
    ("board", 83, flipped),
]


@pytest.mark.slow
def test_a_broken_transfer_is_made_good_in_the_middle_of_a_stream(packed, faulty):
    """A frame is 88 bytes, an answer 84; what is lost, bent or doubled anywhere changes no number."""
    on_board, graph = (millstream_runtime.load(packed[0], backend=name) for name in ("serial", "onnxruntime"))
    streams = on_board.stream(), graph.stream()
    x = np.random.default_rng(2).standard_normal((2 * len(FAULTS), 5)).astype(np.float32)
    for at, (side, place, arrives) in enumerate(FAULTS):
        faulty.faults[side] = (place, arrives)
        for frame in x[2 * at : 2 * at + 2]:
            found, wanted = (stream.step(frame) for stream in streams)
            assert np.array_equal(found, wanted), FAULTS[at]
        assert not faulty.faults


@pytest.mark.slow
def test_a_board_left_in_the_middle_of_something_serves_the_next_program(board, monkeypatch):
    """A program that ends while it sends leaves the board waiting, noise may look like a command, and the
    answer to somebody else's frame is not ours. A stream that meets this goes on, and one begins."""
    monkeypatch.setattr(link, "_PATIENCE", 0.3)
    generator = np.random.default_rng(3)
    frame = wire.message(wire.FRAME, 200, generator.bytes(84))
    asked = wire.message(wire.IDENTIFY, 7, b"")
    heard = [frame[:1], frame[:50], frame[:-1], frame[:-1] + b"!", frame, asked[:2], asked]
    heard += [generator.bytes(300) for _ in range(4)]
    other = os.open(os.environ[serial.PORT_VARIABLE], os.O_RDWR | os.O_NOCTTY)
    os.write(other, frame[:50])
    on_board, graph = (millstream_runtime.load(board, backend=name) for name in ("serial", "onnxruntime"))
    streams = on_board.stream(), graph.stream()
    for each, x in zip(heard, generator.standard_normal((len(heard), 5)).astype(np.float32), strict=True):
        os.write(other, each)
        found, wanted = (stream.step(x) for stream in streams)
        assert np.array_equal(found, wanted)
    os.close(other)


@pytest.mark.slow
def test_a_board_with_another_circuit_is_refused(packed, board):
    port = os.environ[serial.PORT_VARIABLE]
    files = _files(board)
    right = read_board(files["board.json"])
    wrong = Board(right.baud, wire.identity("another model", files["ports.json"], b""))
    with pytest.raises(BackendRefused, match="holds another circuit"):
        Link(port, wrong, b"", 42, 40)
    held = Link(port, right, b"", 42, 40)
    with pytest.raises(BackendRefused, match="does not open"):
        Link(port, right, b"", 42, 40)
    assert held.exchange(np.zeros(42, "<i2")).shape == (40,)


@pytest.mark.slow
def test_no_port_and_a_port_without_a_board_are_refused(packed, monkeypatch):
    path = packed[0]
    monkeypatch.delenv(serial.PORT_VARIABLE, raising=False)
    with pytest.raises(BackendRefused, match=r"(?s)no serial port is named.*MILLSTREAM_SERIAL_PORT=/dev"):
        millstream_runtime.load(path, backend="serial")
    assert millstream_runtime.load(path).backend == "onnxruntime"
    verdicts = {verdict.backend: verdict for verdict in verify(millstream_runtime.read(path))}
    assert verdicts["serial"].passed is None
    assert "no serial port is named" in verdicts["serial"].why
    assert verdicts["onnxruntime"].passed
    monkeypatch.setenv(serial.PORT_VARIABLE, "/dev/no-such-port")
    with pytest.raises(BackendRefused, match="does not open"):
        millstream_runtime.load(path, backend="serial")
    monkeypatch.setattr(link, "_PATIENCE", 0.1)
    with simulated.terminal() as (_, port):
        monkeypatch.setenv(serial.PORT_VARIABLE, port)
        with pytest.raises(BackendRefused, match="no board answers"):
            millstream_runtime.load(path, backend="serial")


@pytest.mark.slow
def test_a_board_that_goes_away_is_told(packed, monkeypatch):
    monkeypatch.setattr(link, "_PATIENCE", 0.05)
    with simulated.running(packed[1]) as port:
        monkeypatch.setenv(serial.PORT_VARIABLE, port)
        stream = millstream_runtime.load(packed[0], backend="serial").stream()
        frame = np.ones(5, np.float32)
        stream.step(frame)
        before = stream.save()
    with pytest.raises(BackendRefused, match=r"is gone|no board answers"):
        stream.step(frame)
    assert stream.save() == before


@pytest.mark.slow
def test_the_bitstream_and_the_bundle_have_one_identity(fpga, bundle, packed, tmp_path):
    built = fpga("build", bundle, "--board", "ulx3s", "--lanes", 2, "-o", tmp_path / "build")
    assert built.exit_code == 0, built.stderr
    files = _files(packed[0])
    identity = read_board(files["board.json"]).identity
    assert f"IDENTITY(256'h{identity.hex()})" in (tmp_path / "build" / "millstream_serial.v").read_text()
    spec = millstream_runtime.read(packed[0]).manifest.model
    ports = read_ports(files["ports.json"], spec)
    assert (ports.words_in, ports.words_out) == (42, 40)


def _files(path):
    read = millstream_runtime.read(path)
    (target,) = (target for target in read.manifest.targets if target.backend == "serial")
    return read.files(target)


@pytest.mark.parametrize(
    "change",
    [{"baud": 0}, {"baud": "fast"}, {"baud": None}, {"identity": "00"}, {"identity": "x"}, {"identity": 5}],
)
def test_a_board_that_makes_no_sense_is_refused(change):
    document = {"baud": 1000000, "identity": "00" * 32}
    assert read_board(json.dumps(document).encode()) == Board(1000000, bytes(32))
    with pytest.raises(PlanInvalid):
        read_board(json.dumps({**document, **change}).encode())
    with pytest.raises(PlanInvalid):
        read_board(b"[]")


def test_a_message_that_does_not_come_whole_is_none():
    whole = wire.message(wire.FRAME, 9, b"abcd")
    assert len(whole) == wire.length(4)
    assert wire.payload(whole, wire.FRAME, 9) == b"abcd"
    assert wire.payload(whole, wire.FRAME, 8) is None
    assert wire.payload(whole, wire.IDENTIFY, 9) is None
    assert wire.payload(b"", wire.FRAME, 9) is None
    for place in range(len(whole)):
        bent = bytearray(whole)
        bent[place] ^= 1
        assert wire.payload(bytes(bent), wire.FRAME, 9) is None
        assert wire.payload(whole[:place], wire.FRAME, 9) is None
