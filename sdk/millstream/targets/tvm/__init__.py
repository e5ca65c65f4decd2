"""Compile half of the TVM backend: the lowered program as a shared library for machines with Python.

Three files: `step.so`, which needs nothing but libm and libc; `weights.bin`, packed for exactly this library;
`layout.json`, the bytes of scratch and the buffers of the caller. The run half opens them; on a host of
another kind `open` does, in an emulator.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from millstream import lower
from millstream.gap import Gap
from millstream.graph import StepGraph
from millstream.linker import INSTALL, linker
from millstream.targets import Compiled, Contract, Target
from millstream.targets.emulation import machines
from millstream.targets.emulation.library import open_library
from millstream.targets.tools import require
from millstream.targets.tvm.build import TOLERANCE, build_library, missing_tvm
from millstream.targets.tvm.fitting import fit
from millstream.targets.tvm.levels import Level, level_of
from millstream.targets.tvm.script import print_programs
from millstream_runtime import machine
from millstream_runtime.backends import Step
from millstream_runtime.backends.callers import dump_callers
from millstream_runtime.backends.tvm import BATCH, CHUNK, ONE
from millstream_runtime.batched import STREAMS, batched
from millstream_runtime.chunked import FRAMES, chunked
from millstream_runtime.errors import BackendRefused
from millstream_runtime.program import Program, state_bytes
from millstream_runtime.spec import Memory, ModelSpec, TargetSpec


def missing(target: Target) -> tuple[str, ...]:
    """The lines that install TVM, a linker and, for another architecture, an emulator, where they lack."""
    return missing_for(level_of(target.name))


def missing_for(level: Level) -> tuple[str, ...]:
    """The same for a class of machines."""
    if not machine.is_kind(level.machine):
        return (*missing_tvm(), *machines.missing(machines.LINUX[level.machine.arch]))
    return missing_tvm() if linker() else (*missing_tvm(), INSTALL)


def gaps(graph: StepGraph, target: Target) -> list[Gap]:
    """Every node that the lowering cannot express."""
    return lower.gaps(graph)


def compile(graph: StepGraph, target: Target, contract: Contract) -> Compiled:
    """Compile for the level of the target. Raises ToolMissing without TVM or a linker."""
    lowered = lower.lower(graph)
    return compile_program(lowered.program, lowered.weights, level_of(target.name))


def compile_program(program: Program, weights: bytes, level: Level) -> Compiled:
    """The files of a lowered program."""
    require("the step", missing_for(level))
    laid = fit(program, weights, level)
    functions = {
        ONE: (1, laid.program),
        BATCH: (STREAMS, batched(laid.program, STREAMS)),
        CHUNK: (FRAMES, chunked(laid.program, FRAMES)),
    }
    source = print_programs({name: made for name, (_, made) in functions.items()}, level)
    compiler = linker() if machine.is_kind(level.machine) else machines.LINUX[level.machine.arch].compiler
    return Compiled(
        files={
            "step.so": build_library(source, level, compiler),
            "weights.bin": laid.weights,
            "layout.json": _layout(laid.program, functions),
        },
        memory=Memory(len(laid.weights), state_bytes(program), laid.program.scratch_bytes),
        tolerance=TOLERANCE,
        machine=level.machine,
    )


def _layout(program: Program, functions: Mapping[str, tuple[int, Program]]) -> bytes:
    """What the run half needs to know: the caller's buffers, and what each function takes at once and
    needs."""
    needs = {name: [count, made.scratch_bytes] for name, (count, made) in functions.items()}
    return json.dumps({"callers": dump_callers(program.callers), "functions": needs}).encode()


def open(files: Mapping[str, bytes], spec: ModelSpec, target: TargetSpec) -> Step:
    """The library in an emulator. Raises BackendMissing, BackendRefused, PlanInvalid."""
    emulated = machines.LINUX.get(target.machine.arch)
    if emulated is None:
        raise BackendRefused(
            "no emulator is known for the machine", where=f"target {target.name}", why=target.machine.arch
        )
    return open_library(files, emulated)
