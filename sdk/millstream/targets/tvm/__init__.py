"""Compile half of the TVM backend: the lowered program as a shared library for CPUs like this host's.

Three files: `step.so`, which needs nothing but libm and libc; `weights.bin`, packed for exactly this library;
`layout.json`, the bytes of scratch and the buffers of the caller.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping

from millstream import lower
from millstream.errors import ToolMissing
from millstream.gap import Gap
from millstream.graph import StepGraph
from millstream.linker import INSTALL, linker
from millstream.targets import Compiled, Contract, Target
from millstream.targets.blocks import block
from millstream.targets.packed_weights import pack_weights
from millstream.targets.tvm.build import build
from millstream.targets.tvm.levels import best
from millstream.targets.tvm.script import print_programs
from millstream_runtime import machine
from millstream_runtime.batched import STREAMS, batched
from millstream_runtime.chunked import FRAMES, chunked
from millstream_runtime.program import Program, state_bytes
from millstream_runtime.spec import Machine, Memory, Tolerance
from millstream_runtime.unsigned import shift_dots

_TOLERANCE = Tolerance(
    relative=1e-5,
    absolute=1e-7,
    reason="float32 sums in another order and fused multiply-adds; exp, tanh and erf to a few ulp",
)


def missing() -> tuple[str, ...]:
    """The lines that install TVM and a linker, where they lack."""
    lines = []
    if not importlib.util.find_spec("tvm"):
        lines.append("pip install 'millstream[export]'")
    if not linker():
        lines.append(INSTALL)
    return tuple(lines)


def gaps(graph: StepGraph, target: Target) -> list[Gap]:
    """Every node that the lowering cannot express."""
    return lower.gaps(graph)


def compile(graph: StepGraph, target: Target, contract: Contract) -> Compiled:
    """Compile for the level of this host's CPU. Raises ToolMissing without TVM or a linker."""
    lowered = lower.lower(graph)
    return compile_program(lowered.program, lowered.weights)


def compile_program(program: Program, weights: bytes) -> Compiled:
    """The files of a lowered program."""
    if missing():
        raise ToolMissing("the CPU target cannot be compiled here", fix="; ".join(missing()))
    here = machine.here()
    level = best(here)
    blocked = block(program, weights, level.lanes)
    laid = pack_weights(blocked.program, blocked.weights)
    if level.dot.unsigned:
        laid = shift_dots(laid.program, laid.weights)
    functions = {
        "step": (1, laid.program),
        "batch": (STREAMS, batched(laid.program, STREAMS)),
        "chunk": (FRAMES, chunked(laid.program, FRAMES)),
    }
    source = print_programs({name: made for name, (_, made) in functions.items()}, level)
    return Compiled(
        files={
            "step.so": build(source, level),
            "weights.bin": laid.weights,
            "layout.json": _layout(laid.program, functions),
        },
        memory=Memory(len(laid.weights), state_bytes(program), laid.program.scratch_bytes),
        tolerance=_TOLERANCE,
        machine=Machine(here.system, here.arch, level.features),
    )


def _layout(program: Program, functions: Mapping[str, tuple[int, Program]]) -> bytes:
    """What the run half needs to know: the caller's buffers, and what each function takes at once and
    needs."""
    callers = [[b.name, b.role, b.dtype, b.size] for b in program.callers]
    needs = {name: [count, made.scratch_bytes] for name, (count, made) in functions.items()}
    return json.dumps({"callers": callers, "functions": needs}).encode()
