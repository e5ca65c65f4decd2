"""A board whose memory wakes up empty: its constants come over the serial line first. The board is simulated
bit by bit; its SPRAM wakes up with words that no model means."""

import os
import re
import time

import faulty_line
import numpy as np
import pytest
from faulty_line import doubled, flipped, lost

import millstream_runtime
from millstream_hw.board import simulated
from millstream_hw.engine import image as machine
from millstream_hw.engine.compile import compile_circuit
from millstream_hw.engine.files import files, load_of
from millstream_hw.planning import stateless_circuit_of
from millstream_runtime.backends import serial
from millstream_runtime.backends.serial import link, wire
from millstream_runtime.backends.serial.board import LOAD, Board, read_board
from millstream_runtime.backends.serial.link import Link
from millstream_runtime.errors import BackendRefused

#: Of the small model with 4 lanes; the last block is not full.
BLOCKS = 9
MESSAGE = wire.length(wire.COUNT_BYTES + 2 * wire.BLOCK_WORDS)
#: What a host sends before the first block: what ends any message, and the question who is there.
GREETING = MESSAGE + wire.length(0)
#: What a board says before and after the first block.
ABOUT, TAKEN = wire.length(wire.ABOUT_BYTES), wire.length(wire.COUNT_BYTES)


@pytest.fixture(scope="module")
def packed(packed_for):
    """The gated recurrence for a board, and the simulated board that proved it: bundle and folder."""
    path, folder, said = packed_for("icebreaker")
    assert re.search(rf"bytes to load +{BLOCKS * (MESSAGE + TAKEN):,}\b", said)
    return path, folder


@pytest.fixture
def bench(packed, monkeypatch):
    """A board that has nothing yet, at the port that the environment names."""
    monkeypatch.setattr(link, "_PATIENCE", 0.3)
    with faulty_line.bench(packed[1]) as made:
        monkeypatch.setenv(serial.PORT_VARIABLE, made.port)
        yield made


@pytest.fixture
def agree(packed):
    """Open the board and step a stream of its own: every number must be that of onnxruntime."""
    graph = millstream_runtime.load(packed[0], backend="onnxruntime")
    generator = np.random.default_rng(0)

    def check(model=None):
        model = model or millstream_runtime.load(packed[0], backend="serial")
        streams = model.stream(), graph.stream()
        for frame in generator.standard_normal((3, 5)).astype(np.float32):
            found, wanted = (stream.step(frame) for stream in streams)
            assert np.array_equal(found, wanted)
        return model

    return check


@pytest.mark.slow
def test_a_board_is_loaded_once_and_serves_one_program_after_the_other(bench, agree):
    agree()
    assert bench.line.passed["host"] > GREETING + BLOCKS * MESSAGE
    bench.line.passed["host"] = 0
    agree()
    model = agree()
    assert bench.line.passed["host"] < 2 * MESSAGE + 1000
    bench.line.faults["host"] = (20, flipped)
    agree(model)
    assert not bench.line.faults
    assert bench.line.passed["host"] < 3 * MESSAGE + 1500


FAULTS = [
    ("host", GREETING, lost),
    ("host", GREETING + MESSAGE, flipped),
    ("host", GREETING + MESSAGE + 2, flipped),
    ("host", GREETING + 3 * MESSAGE + 1000, lost),
    ("host", GREETING + 4 * MESSAGE + 1001, flipped),
    ("host", GREETING + 5 * MESSAGE + 500, doubled),
    ("host", GREETING + BLOCKS * MESSAGE - 1, flipped),
    ("board", ABOUT, lost),
    ("board", ABOUT + TAKEN + 2, flipped),
    ("board", ABOUT + BLOCKS * TAKEN - 1, lost),
]


@pytest.mark.slow
def test_a_block_that_is_damaged_is_made_good(bench, agree):
    for side, place, arrives in FAULTS:
        bench.restart()
        bench.line.faults[side] = (place, arrives)
        agree()
        assert not bench.line.faults, (side, place)


@pytest.mark.slow
@pytest.mark.parametrize("cut", [0, 1000, MESSAGE - 1])
def test_a_load_that_was_broken_off_is_gone_on_with_or_begun_again(packed, bench, agree, cut):
    """By a program that ended after two blocks and part of the third."""
    blocks = wire.blocks(_files(packed[0])[LOAD])
    messages = [wire.message(wire.LOAD, number, block) for number, block in enumerate(blocks)]
    other = os.open(bench.port, os.O_RDWR | os.O_NOCTTY)
    for number, message in enumerate(messages[:2]):
        os.write(other, message)
        assert _heard(other, TAKEN) == wire.message(wire.LOAD, number, wire.count(number + 1))
    os.write(other, messages[2][:cut])
    os.close(other)
    before = bench.line.passed["host"]
    agree()
    sent = bench.line.passed["host"] - before
    assert (sent < GREETING + (BLOCKS - 1) * MESSAGE) == (cut == 0)


@pytest.mark.slow
def test_a_block_that_comes_twice_or_too_early_changes_nothing_and_frames_wait_for_the_last(
    packed, bench, agree
):
    blocks = wire.blocks(_files(packed[0])[LOAD])
    other = os.open(bench.port, os.O_RDWR | os.O_NOCTTY)
    for number, block, has in ((0, 0, 1), (1, 0, 1), (2, 5, 1), (3, 1, 2)):
        os.write(other, wire.message(wire.LOAD, number, blocks[block]))
        assert _heard(other, TAKEN) == wire.message(wire.LOAD, number, wire.count(has))
    agree()
    os.write(other, wire.message(wire.LOAD, 4, blocks[0]))
    assert _heard(other, TAKEN) == wire.message(wire.LOAD, 4, wire.count(BLOCKS))
    agree()
    bench.restart()
    os.write(other, wire.message(wire.FRAME, 1, bytes(84)))
    assert _heard(other, 1) == bytes([wire.REFUSED])
    os.close(other)


@pytest.mark.slow
def test_a_board_that_lost_its_power_is_loaded_again(bench, agree):
    """Between two frames, in the middle of a frame, and in the middle of the load."""
    model = agree()
    bench.restart()
    agree(model)

    def power(byte):
        bench.restart()
        return byte

    bench.line.faults["host"] = (20, power)
    agree(model)
    assert not bench.line.faults
    bench.restart()
    # The frame is refused, and the load that follows is broken off.
    bench.line.faults["host"] = (wire.length(84) + GREETING + 4 * MESSAGE + 99, power)
    agree(model)
    assert not bench.line.faults


@pytest.mark.slow
def test_a_board_with_other_constants_is_never_in_service(packed, bench, agree):
    """The load of another circuit has another identity; words that are wrong although every block came whole
    are seen before the last of them is given away."""
    files = _files(packed[0])
    right = read_board(files["board.json"])
    load = bytearray(files[LOAD])
    model = millstream_runtime.read(packed[0]).manifest.model_sha256
    assert wire.identity(model, files["ports.json"], files[LOAD]) == right.identity
    load[len(load) // 2] ^= 1
    other = Board(right.baud, wire.identity(model, files["ports.json"], bytes(load)))
    with pytest.raises(BackendRefused, match="holds another circuit"):
        Link(bench.port, other, bytes(load), 42, 40)
    for place in (len(load) // 2, -1):
        load = bytearray(files[LOAD])
        load[place] ^= 1
        with pytest.raises(BackendRefused, match="does not take its constants"):
            Link(bench.port, right, bytes(load), 42, 40)
    agree()


@pytest.mark.slow
def test_no_word_of_a_frame_is_taken_for_a_constant(bundle, tmp_path):
    """With 6 lanes the last block has 4 words, fewer than a frame: taken for constants they would complete
    the load, and no reset would undo it."""
    found = stateless_circuit_of(millstream_runtime.read(bundle))
    image = compile_circuit(found, 6)
    sources = files(image, loaded=True)
    load, identity = load_of(sources), bytes(wire.IDENTITY_BYTES)
    assert len(load) // 2 % wire.BLOCK_WORDS == 4
    simulated.compile_board(str(tmp_path), sources, found, identity, load)
    words = np.random.default_rng(1).integers(-3000, 3000, 42).astype("<i2")
    with simulated.running(str(tmp_path)) as port:
        other = os.open(port, os.O_RDWR | os.O_NOCTTY)
        for number, block in enumerate(wire.blocks(load)[:-1]):
            os.write(other, wire.message(wire.LOAD, number, block))
            assert _heard(other, TAKEN) == wire.message(wire.LOAD, number, wire.count(number + 1))
        os.write(other, wire.message(wire.FRAME, 100, words.tobytes()))
        assert _heard(other, 1) == bytes([wire.REFUSED])
        os.close(other)
        held = Link(port, Board(2_000_000, identity), load, 42, 40)
        assert np.array_equal(held.exchange(words), machine.frame(image, machine.reset(image), words))


def test_blocks_are_numbered_and_the_last_one_is_filled_up():
    load = np.arange(2500, dtype="<u2").tobytes()
    blocks = wire.blocks(load)
    assert [block[:2] for block in blocks] == [b"\0\0", b"\1\0", b"\2\0"]
    assert {len(block) for block in blocks} == {2 + 2 * wire.BLOCK_WORDS}
    assert b"".join(block[2:] for block in blocks) == load + bytes(2 * (3 * 1024 - 2500))
    assert wire.blocks(b"") == []
    assert wire.counted(bytes(32) + wire.count(300)) == 300


def _heard(port, most):
    heard, end = b"", time.monotonic() + 20
    while len(heard) < most and time.monotonic() < end:
        heard += os.read(port, most - len(heard))
    return heard


def _files(path):
    read = millstream_runtime.read(path)
    (target,) = (target for target in read.manifest.targets if target.backend == "serial")
    return read.files(target)
