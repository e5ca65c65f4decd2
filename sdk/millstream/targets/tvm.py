"""Compile half of the TVM backend: the lowered program as a shared library for CPUs like this host's.

Three files: `step.so`, which needs nothing but libtvm_ffi, libm and libc; `weights.bin`, packed for exactly
this library; `layout.json`, the parameters of the step in order as [name, role, dtype, size].
"""

from __future__ import annotations

import importlib.util
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from millstream import lower
from millstream.errors import ToolMissing
from millstream.gap import Gap
from millstream.graph import StepGraph
from millstream.linker import INSTALL, linker
from millstream.targets import Compiled, Contract, Target
from millstream.targets.blocks import block
from millstream.targets.tvm_script import parameters, print_program
from millstream_runtime import machine
from millstream_runtime.program import Program, item_size
from millstream_runtime.spec import Machine, Memory, Tolerance

if TYPE_CHECKING:
    from tvm.ir.transform import Pass

_TOLERANCE = Tolerance(
    relative=1e-5,
    absolute=1e-7,
    reason="float32 sums in another order and fused multiply-adds; exp, tanh and erf to a few ulp",
)
# Nothing of the build itself goes in, such as names of temporary files: the same program, the same bytes.
_LINK_OPTIONS = ("-s", "-Wl,--build-id=none", "-lm")


@dataclass(frozen=True)
class Level:
    """A class of CPUs: LLVM's name, float32 lanes of a vector register, and the features it needs, in the
    words of `millstream_runtime.machine`."""

    mcpu: str
    lanes: int
    features: tuple[str, ...]


_V2 = ("cx16", "popcnt", "sse4_1", "sse4_2", "ssse3")
_V3 = (*_V2, "abm", "avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "movbe")
_V4 = (*_V3, "avx512bw", "avx512cd", "avx512dq", "avx512f", "avx512vl")
#: The levels of the x86-64 psABI, best first. Four lanes are in every 64-bit CPU.
_X86_64 = (Level("x86-64-v4", 16, _V4), Level("x86-64-v3", 8, _V3), Level("x86-64-v2", 4, _V2))
_ANY = Level("generic", 4, ())


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
    level = _level(here)
    blocked = block(program, weights, level.lanes)
    taken = parameters(blocked.program)
    sizes = {"state": 0, "scratch": 0}
    for buffer in taken:
        if buffer.role in sizes:
            sizes[buffer.role] += buffer.size * item_size(buffer.dtype)
    layout = json.dumps([[b.name, b.role, b.dtype, b.size] for b in taken]).encode()
    library = _build(print_program(blocked.program, level.lanes), level)
    return Compiled(
        files={"step.so": library, "weights.bin": blocked.weights, "layout.json": layout},
        memory=Memory(weights=len(blocked.weights), **sizes),
        tolerance=_TOLERANCE,
        machine=Machine(here.system, here.arch, level.features),
    )


def _level(here: Machine) -> Level:
    """The best level that this CPU has."""
    levels = _X86_64 if here.arch == "x86_64" else ()
    return next((level for level in levels if set(level.features) <= set(here.features)), _ANY)


def _build(source: str, level: Level) -> bytes:
    """TVMScript to the bytes of a shared library."""
    import tvm
    import tvm.script

    target = tvm.target.Target({"kind": "llvm", **({"mcpu": level.mcpu} if level is not _ANY else {})})
    module = tvm.tirx.transform.BindTarget(target.with_host(target))(tvm.script.from_source(source))
    code = tvm.get_global_func("target.build.llvm")(_lowering()(module), target)
    with tempfile.TemporaryDirectory(prefix="millstream-") as folder:
        path = Path(folder) / "step.so"
        code.export_library(str(path), cc=linker(), options=list(_LINK_OPTIONS))
        return path.read_bytes()


def _lowering() -> Pass:
    """TVM's own pipeline for CPUs, cut down to what a printed step needs.

    Left out on purpose are its simplifier and its common subexpressions: on floats they take x - x for 0
    and not (x < y) for x >= y, which NaN and infinity break, they fold (x + c) - c, and they lift divisions
    out of their guards. LLVM does the same work and keeps to the rules.
    """
    from tvm import s_tir, tirx
    from tvm.ir.transform import Sequential

    return Sequential(
        [
            s_tir.transform.LowerInitBlock(),
            s_tir.transform.PlanAndUpdateBufferAllocationLocation(),
            s_tir.transform.ConvertBlocksToOpaque(),
            s_tir.transform.LowerOpaqueBlock(),
            tirx.transform.FlattenBuffer(),
            tirx.transform.NarrowDataType(32),
            tirx.transform.VectorizeLoop(),
            tirx.transform.AnnotateEntryFunc(),
            tirx.transform.MakePackedAPI(),
            tirx.transform.LowerTVMBuiltin(),
            tirx.transform.LowerIntrin(),
        ]
    )
