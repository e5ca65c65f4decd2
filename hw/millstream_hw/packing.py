"""A circuit into a bundle: simulated by Verilator, it opens like any other backend.

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
from millstream_hw.circuit import Circuit, with_states_on_the_port
from millstream_hw.engine.compile import compile_circuit
from millstream_hw.engine.files import files
from millstream_hw.errors import BitsDiffer
from millstream_hw.planning import circuit_of
from millstream_runtime import machine
from millstream_runtime.backends import verilator as run_half
from millstream_runtime.bundle import Bundle
from millstream_runtime.core import Core
from millstream_runtime.replay import replay
from millstream_runtime.spec import Machine, Memory, TargetSpec, Tolerance

NAME = "verilator"
#: What the circuit computes is equal bit for bit; what is left for the host is floating point.
_TOLERANCE = Tolerance(1e-6, 1e-7, "the circuit is exact; the host's part may be rounded otherwise")


def pack(bundle: Bundle, lanes: int, begin: Callable[[str], None]) -> Contents:
    """The contents of the bundle with one target more: an engine with that many lanes, in Verilator.

    Raises UnsupportedOperators, ToolMissing, ToolFailed, and BitsDiffer when the new target does not give the
    golden sequence.
    """
    inside = circuit_of(bundle)
    following = {state.name: state.next_name for state in bundle.manifest.model.states}
    circuit = with_states_on_the_port(inside, following)
    image = compile_circuit(circuit, lanes)
    begin("compiling the simulator")
    members = _simulator(files(image)) | {run_half.PORTS: _ports(circuit)}
    if circuit.around is not None:
        members[run_half.AROUND] = circuit.around.SerializeToString(deterministic=True)
    here = machine.here()
    state = sum(2 * each.port.size for each in inside.states)
    memory = Memory(weights=image.weights.nbytes, state=state, scratch=image.data.nbytes - state)
    target = TargetSpec(NAME, NAME, (), _TOLERANCE, memory, Machine(here.system, here.arch))
    contents = package.with_target(bundle, target, members)
    begin("the golden sequence through the circuit")
    _prove(bundle, contents, target, members)
    return contents


def _simulator(sources: Mapping[str, bytes]) -> dict[str, bytes]:
    """The compiled program, and the memory contents that it reads when it starts."""
    with tempfile.TemporaryDirectory() as room:
        for name, data in sources.items():
            Path(room, name).write_bytes(data)
        names = sorted(name for name in sources if name.endswith(".v"))
        verilator.compile_simulator(room, names, verilator.PORT)
        program = Path(room, verilator.BINARY).read_bytes()
    memories = {name: data for name, data in sources.items() if name.endswith(".hex")}
    return {**memories, run_half.PROGRAM: program}


def _ports(circuit: Circuit) -> bytes:
    sides = {"inputs": circuit.inputs, "outputs": circuit.outputs}
    document = {
        side: [[port.real, port.size, port.fraction] for port in ports] for side, ports in sides.items()
    }
    return json.dumps(document).encode()


def _prove(bundle: Bundle, contents: Contents, target: TargetSpec, members: Mapping[str, bytes]) -> None:
    step = run_half.open(members, contents.model, target)
    core = Core(contents.model, step, bundle.initial(), bundle.manifest.model_sha256)
    done = replay(core, contents.golden, target.tolerance)
    if not done.passed:
        raise BitsDiffer(
            "the packed circuit does not give the golden sequence",
            where=done.worst.name,
            why=f"it differs by {done.worst.largest:g}, allowed are {done.worst.bound:g}",
            fix="report this",
        )
