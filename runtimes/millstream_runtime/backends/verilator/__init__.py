"""The run half of a circuit that Verilator simulates: a program behind the port that an FPGA has.

States travel with every frame, so that streams, pools and snapshots are what they are everywhere; one circuit
serves all streams in turn.
"""

from __future__ import annotations

from collections.abc import Mapping

from millstream_runtime import machine
from millstream_runtime.backends.circuit import AROUND, PORTS
from millstream_runtime.backends.circuit.ports import read_ports
from millstream_runtime.backends.circuit.step import CircuitStep, host_part
from millstream_runtime.backends.verilator.simulator import Simulator
from millstream_runtime.spec import ModelSpec, TargetSpec

PROGRAM = "simulator"


def missing() -> str:
    """Nothing is."""
    return ""


def open(files: Mapping[str, bytes], spec: ModelSpec, target: TargetSpec) -> CircuitStep:
    """Start the simulator, which reads the memory contents among `files`.

    Raises MachineMismatch, BackendRefused when it does not start, BackendMissing when the step has a part for
    onnxruntime, PlanInvalid.
    """
    machine.check(target.machine)
    ports = read_ports(files[PORTS], spec)
    around = host_part(files.get(AROUND))
    rest = {name: data for name, data in files.items() if name not in (PORTS, AROUND)}
    return CircuitStep(spec, ports, Simulator(rest, PROGRAM, ports.words_out), around)
