"""A circuit into a bundle: simulated by Verilator, or on a board behind its serial line, it opens like any
other backend.

The runtime owns the states of a stream, so this circuit has none of its own: they come in with every frame
and go out with every answer.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from millstream import package
from millstream.package import Contents
from millstream_hw import verilator
from millstream_hw.board import planning as board_planning
from millstream_hw.board import simulated as simulated_board
from millstream_hw.board.board import Board
from millstream_hw.circuit import Circuit
from millstream_hw.engine.compile import compile_circuit
from millstream_hw.engine.files import files, load_of
from millstream_hw.engine.image import Image
from millstream_hw.errors import BitsDiffer
from millstream_hw.planning import circuit_of, stateless_circuit_of
from millstream_runtime import machine
from millstream_runtime.backends import Step, circuit, serial
from millstream_runtime.backends import verilator as simulated
from millstream_runtime.backends.serial import board as far
from millstream_runtime.backends.serial import wire
from millstream_runtime.bundle import Bundle
from millstream_runtime.core import Core
from millstream_runtime.errors import LibraryMissing
from millstream_runtime.replay import replay
from millstream_runtime.spec import Machine, Memory, TargetSpec, Tolerance

NAME, BOARD_NAME = "verilator", "serial"
#: Of an engine in Verilator, where nobody says.
LANES = 16
#: What the circuit computes is equal bit for bit; what is left for the host is floating point.
_TOLERANCE = Tolerance(1e-6, 1e-7, "the circuit is exact; the host's part may be rounded otherwise")


def pack(bundle: Bundle, lanes: int, begin: Callable[[str], None]) -> Contents:
    """The contents of the bundle with one target more: an engine with that many lanes, in Verilator.

    Raises UnsupportedOperators, ToolMissing, ToolFailed, and BitsDiffer when the new target does not give the
    golden sequence.
    """
    found = stateless_circuit_of(bundle)
    image = compile_circuit(found, lanes)
    begin("compiling the simulator")
    members = _simulator(files(image)) | _beside(found)
    here = machine.here()
    target = TargetSpec(NAME, NAME, (), _TOLERANCE, _memory(bundle, image), Machine(here.system, here.arch))
    contents = package.with_target(bundle, target, members)
    begin("the golden sequence through the circuit")
    _prove(bundle, contents, target, simulated.open(members, contents.model, target))
    return contents


def pack_for_board(bundle: Bundle, board: Board, lanes: int | None, begin: Callable[[str], None]) -> Contents:
    """The contents of the bundle with one target more: the circuit that `fpga build --board` makes. Where its
    constants are loaded they are in the bundle; then the lanes must be those of the build, else they may
    differ. An engine with `lanes`, or the most that fit, and its serial line prove it in Verilator.

    Raises UnsupportedOperators, DoesNotFit, ToolMissing, ToolFailed, LibraryMissing, and BitsDiffer when the
    new target does not give the golden sequence.
    """
    lacking = serial.missing()
    if lacking:
        raise LibraryMissing("pyserial, which the proof speaks through, is not installed", fix=lacking)
    found = stateless_circuit_of(bundle)
    plan = board_planning.fitting(found, board, lanes)
    sources = plan.files()
    load = load_of(sources)
    name = identity(bundle, found, load)
    members = _beside(found) | {far.FILE: far.Board(board.baud, name).dump()}
    if load:
        members[far.LOAD] = load
    image = compile_circuit(found, plan.lanes)
    target = TargetSpec(BOARD_NAME, BOARD_NAME, (), _TOLERANCE, _memory(bundle, image), Machine())
    contents = package.with_target(bundle, target, members)
    with tempfile.TemporaryDirectory() as room:
        begin("compiling the simulated board")
        simulated_board.compile_board(room, sources, found, name, load)
        begin("the golden sequence over its serial line")
        with simulated_board.running(room) as port:
            _prove(bundle, contents, target, serial.open_at(port, members, contents.model, target))
    return contents


def identity(bundle: Bundle, stateless: Circuit, load: bytes) -> bytes:
    """What a board with that circuit of the bundle calls itself, whose constants are loaded with `load`."""
    return wire.identity(bundle.manifest.model_sha256, _ports(stateless), load)


def bytes_of_a_frame(bundle: Bundle) -> int:
    """Bytes on the serial line for a frame and its answer."""
    found = stateless_circuit_of(bundle)
    words = (sum(port.size for port in ports) for ports in (found.inputs, found.outputs))
    return sum(wire.length(2 * count) for count in words)


def bytes_of_the_load(packed: Contents) -> int:
    """Bytes on the serial line until the board has its constants; none where it has them from the start."""
    _, members = packed.targets[-1]
    blocks = wire.blocks(members.get(far.LOAD, b""))
    return sum(wire.length(len(block)) + wire.length(wire.COUNT_BYTES) for block in blocks)


def _simulator(sources: Mapping[str, bytes]) -> dict[str, bytes]:
    """The compiled program, and the memory contents that it reads when it starts."""
    with tempfile.TemporaryDirectory() as room:
        for name, data in sources.items():
            Path(room, name).write_bytes(data)
        names = sorted(name for name in sources if name.endswith(".v"))
        verilator.compile_simulator(room, names, verilator.PORT)
        program = Path(room, verilator.binary()).read_bytes()
    memories = {name: data for name, data in sources.items() if name.endswith(".hex")}
    return {**memories, simulated.PROGRAM: program}


def _beside(found: Circuit) -> dict[str, bytes]:
    """What the host needs beside the circuit."""
    members = {circuit.PORTS: _ports(found)}
    if found.around is not None:
        members[circuit.AROUND] = found.around.SerializeToString(deterministic=True)
    return members


def _ports(found: Circuit) -> bytes:
    sides = {"inputs": found.inputs, "outputs": found.outputs}
    document = {
        side: [[port.real, port.size, port.fraction] for port in ports] for side, ports in sides.items()
    }
    return json.dumps(document).encode()


def _memory(bundle: Bundle, image: Image) -> Memory:
    state = sum(2 * each.port.size for each in circuit_of(bundle).states)
    return Memory(weights=image.weights.nbytes, state=state, scratch=image.data.nbytes - state)


def _prove(bundle: Bundle, contents: Contents, target: TargetSpec, step: Step) -> None:
    core = Core(contents.model, step, bundle.initial(), bundle.manifest.model_sha256)
    done = replay(core, contents.golden, target.tolerance)
    if not done.passed:
        raise BitsDiffer(
            "the packed circuit does not give the golden sequence",
            where=done.worst.name,
            why=f"it differs by {done.worst.largest:g}, allowed are {done.worst.bound:g}",
            fix="report this",
        )
