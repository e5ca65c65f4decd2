"""Compile half of the C backend: the whole step as plain C11, for any machine that has a C compiler.

Three files: `step.h`, `step.c` and `weights.c`. They need nothing but a C library's <math.h>, allocate
nothing and keep nothing. No run half opens them: a device that runs them has no Python. So that the
ladder proves them all the same, `open` compiles them here.
"""

from __future__ import annotations

from collections.abc import Mapping

from millstream import lower
from millstream.gap import Gap
from millstream.graph import StepGraph
from millstream.linker import INSTALL, linker
from millstream.targets import Compiled, Contract, Target
from millstream.targets.c.header import print_header
from millstream.targets.c.layout import layout, record
from millstream.targets.c.library import open_library
from millstream.targets.c.source import print_step, print_weights, tables
from millstream.targets.c.storage import scratch_bytes, storage_names
from millstream.targets.packed_weights import pack_weights
from millstream_runtime.backends import Step
from millstream_runtime.program import Program
from millstream_runtime.spec import Memory, ModelSpec, TargetSpec, Tolerance

_TOLERANCE = Tolerance(
    relative=1e-5,
    absolute=1e-7,
    reason="float32 sums in the order of the loops; exp, tanh and erf as good as the C library's",
)


def missing(target: Target) -> tuple[str, ...]:
    """The line that installs a C compiler, which the proof needs, where there is none."""
    return () if linker() else (INSTALL,)


def gaps(graph: StepGraph, target: Target) -> list[Gap]:
    """Every node that the lowering cannot express."""
    return lower.gaps(graph)


def compile(graph: StepGraph, target: Target, contract: Contract) -> Compiled:
    """The three files; memory is what their arrays and structs take."""
    lowered = lower.lower(graph)
    return compile_program(lowered.program, lowered.weights, contract)


def compile_program(program: Program, weights: bytes, contract: Contract) -> Compiled:
    """The files of a lowered program."""
    packed = pack_weights(program, weights)
    program, weights = packed.program, packed.weights
    structs, names = layout(contract.spec), storage_names(program)
    arrays = tables(program, weights, structs, names, contract.initial)
    weight_bytes = sum(table.values.nbytes for table in arrays)
    files = {
        "step.h": print_header(program, structs, contract.spec, names, weight_bytes),
        "step.c": print_step(program, structs, names, arrays, contract.initial),
        "weights.c": print_weights(arrays),
    }
    return Compiled(
        files={name: text.encode() for name, text in files.items()},
        memory=Memory(weight_bytes, record(structs.state).itemsize, scratch_bytes(program)),
        tolerance=_TOLERANCE,
    )


def open(files: Mapping[str, bytes], spec: ModelSpec, target: TargetSpec) -> Step:
    """The step, compiled for this host. Raises BackendMissing or BackendRefused."""
    return open_library(files, spec, target.memory.scratch)
