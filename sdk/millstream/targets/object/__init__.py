"""Compile half of the object backend: the lowered program as an object file, for machines without Python.

The interface is that of target `c`: `step.h` and `step.c`, around `kernel.o` and its constants in `weights.S`
and `weights.bin`. A web page, or Node, takes `step.wasm`, which holds all of it, with `step.mjs`. No run half
opens these files: `open` proves them in an emulator.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from millstream import lower
from millstream.gap import Gap
from millstream.graph import StepGraph
from millstream.linker import link
from millstream.object_files import read_object
from millstream.targets import Compiled, Contract, Target
from millstream.targets.c.glue import constants_of, print_glue
from millstream.targets.c.header import print_header
from millstream.targets.c.layout import layout, record
from millstream.targets.c.storage import scratch_bytes, storage_names
from millstream.targets.emulation import machines
from millstream.targets.emulation.kernel import open_kernel
from millstream.targets.object.calls import check_calls, describe
from millstream.targets.tools import require
from millstream.targets.tvm.build import TOLERANCE, build_kernel, missing_tvm
from millstream.targets.tvm.fitting import fit
from millstream.targets.tvm.levels import LEVELS
from millstream.targets.tvm.script import print_programs
from millstream_runtime.backends import Step
from millstream_runtime.errors import BackendRefused
from millstream_runtime.program import Program
from millstream_runtime.spec import Memory, ModelSpec, TargetSpec

_WASM = ("clang", "--target=wasm32", "-std=c11", "-O2", "-mbulk-memory", "-nostdlib")
# The stack lies first, where running over its end is caught.
_WASM_LINKING = ("-Wl,--no-entry", "-Wl,--import-undefined", "-Wl,--stack-first", "-Wl,-s")


def missing(target: Target) -> tuple[str, ...]:
    """The lines that install TVM and what compiling and proving for the target take, where they lack."""
    return (*missing_tvm(), *machines.missing(machines.MACHINES[target.name]))


def gaps(graph: StepGraph, target: Target) -> list[Gap]:
    """Every node that the lowering cannot express."""
    return lower.gaps(graph)


def compile(graph: StepGraph, target: Target, contract: Contract) -> Compiled:
    """Compile for the target. Raises ToolMissing, CallsUnresolved."""
    lowered = lower.lower(graph)
    return compile_program(lowered.program, lowered.weights, contract, target)


def compile_program(program: Program, weights: bytes, contract: Contract, target: Target) -> Compiled:
    """The files of a lowered program."""
    require(target.name, missing(target))
    level, structs = LEVELS[target.name], layout(contract.spec)
    wasm = level.machine.arch == "wasm32"
    laid = fit(program, weights, level)
    symbol = f"{structs.prefix}_kernel"
    joining = machines.MACHINES[target.name].joining(symbol)
    kernel = build_kernel(print_programs({symbol: laid.program}, level), level, joining)
    calls = read_object(kernel).calls
    check_calls(calls, target.name, wasm)
    constants = constants_of(structs, laid.weights, contract.initial)
    size, scratch = len(constants["weights.bin"]), scratch_bytes(laid.program)
    names = storage_names(laid.program)
    header = print_header(laid.program, structs, contract.spec, names, size, describe(calls))
    glue = print_glue(structs, contract.initial, symbol, bool(scratch))
    files = {"step.h": header.encode(), "step.c": glue.encode(), "kernel.o": kernel, **constants}
    if wasm:
        files |= _module(files, structs.prefix)
    return Compiled(
        files=files,
        memory=Memory(size, record(structs.state).itemsize, scratch),
        tolerance=TOLERANCE,
        machine=level.machine,
    )


def _module(files: Mapping[str, bytes], prefix: str) -> dict[str, bytes]:
    """`step.wasm`, and what calls it from JavaScript."""
    exports = (f"{prefix}_{name}" for name in ("initial_state", "step", "bytes"))
    exporting = [f"-Wl,--export={name}" for name in (*exports, "__heap_base")]
    with tempfile.TemporaryDirectory(prefix="millstream-") as folder:
        for name, data in files.items():
            (Path(folder) / name).write_bytes(data)
        parts = [str(Path(folder) / name) for name in ("step.c", "weights.S", "kernel.o")]
        made = Path(folder) / "step.wasm"
        link([*_WASM, f"-I{folder}", *parts, *_WASM_LINKING, *exporting, "-o", str(made)])
        module = made.read_bytes()
    return {"step.wasm": module, "step.mjs": (Path(__file__).parent / "step.mjs").read_bytes()}


def open(files: Mapping[str, bytes], spec: ModelSpec, target: TargetSpec) -> Step:
    """The step in an emulator. Raises BackendMissing or BackendRefused."""
    machine = machines.MACHINES.get(target.name)
    if machine is None:
        raise BackendRefused("no emulator is known for the target", where=f"target {target.name}")
    return open_kernel(files, layout(spec), machine)
