"""What Millstream compiles for: the table of targets, and the compile half of each backend.

A target names what the user wants ("cpu": this machine); its backend is how (TVM). There is no base class
and no registration: `TARGETS` is the whole list, and a compile half is imported only when it is asked for.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, cast

import numpy as np

from millstream.errors import UnknownTarget
from millstream.gap import Gap
from millstream.graph import StepGraph
from millstream.whereabouts import runs_here
from millstream_runtime.backends import Step, has_backend, load_backend
from millstream_runtime.spec import Machine, Memory, ModelSpec, TargetSpec, Tolerance

ANY_MACHINE = Machine()


@dataclass(frozen=True)
class Target:
    """A kind of machine and the backend that serves it.

    `reads_step` is true for a backend that opens `step.onnx` itself and needs no files of its own.
    `fallback` names the target that takes over a graph with nodes that this one cannot run.
    """

    name: str
    backend: str
    summary: str
    reads_step: bool = False
    fallback: str = ""


@dataclass(frozen=True)
class Contract:
    """What stands around the graph, for files that a person reads: names, shapes and units of the tensors,
    and the initial value of each state, without batch dimension."""

    spec: ModelSpec
    initial: tuple[np.ndarray, ...]


@dataclass(frozen=True)
class Compiled:
    """What a compile half makes: `files` are keyed by name relative to the target's folder."""

    files: Mapping[str, bytes]
    memory: Memory
    tolerance: Tolerance
    machine: Machine = ANY_MACHINE


class CompileHalf(Protocol):
    """What the module of a compile half offers."""

    def missing(self, target: Target) -> tuple[str, ...]:
        """The lines that install what compiling for the target, and running that here, needs and this host
        lacks; empty when it is complete."""
        ...

    def gaps(self, graph: StepGraph, target: Target) -> list[Gap]:
        """Every node of the graph that the target cannot run."""
        ...

    def compile(self, graph: StepGraph, target: Target, contract: Contract) -> Compiled:
        """Compile a graph without gaps; the same graph gives the same bytes. Raises ToolMissing."""
        ...


class HostHalf(CompileHalf, Protocol):
    """The compile half of a backend for machines without Python, or unlike this host: it opens its files here
    itself, compiled once more or in an emulator."""

    def open(self, files: Mapping[str, bytes], spec: ModelSpec, target: TargetSpec) -> Step:
        """As `millstream_runtime.backends.Backend.open`."""
        ...


_ALL = (
    Target("cpu", "tvm", "native code for CPUs like this host's", fallback="relax"),
    Target("x86-64-v2", "tvm", "native code for Linux on any x86-64 of the last fifteen years"),
    Target("x86-64-v3", "tvm", "native code for Linux on x86-64 with AVX2"),
    Target("x86-64-v4", "tvm", "native code for Linux on x86-64 with AVX-512"),
    Target("aarch64-linux", "tvm", "native code for Linux on any 64-bit ARM"),
    Target("aarch64-linux-dotprod", "tvm", "native code for Linux on 64-bit ARM with dot products"),
    Target(
        *("numba", "numba", "any machine with numba, compiled there when it is first opened"),
        fallback="onnxruntime",
    ),
    Target("android-arm64", "object", "a kernel for C and C++ on Android, 64-bit ARM"),
    Target("armv7-linux", "object", "a kernel for Linux on 32-bit ARM with NEON, hard float"),
    Target("riscv64-linux", "object", "a kernel for Linux on 64-bit RISC-V"),
    Target("cortex-m4", "object", "a kernel for firmware on Cortex-M4 with its floating-point unit"),
    Target("cortex-m7", "object", "a kernel for firmware on Cortex-M7"),
    Target("wasm32", "object", "a WebAssembly module with SIMD, and a kernel for C"),
    Target("wasm32-plain", "object", "a WebAssembly module without SIMD, and a kernel for C"),
    Target("web", "web", "WebAssembly with and without SIMD, and an ES module that streams it in a browser"),
    *(
        Target(f"cuda-{arch}", "cuda", f"kernels for many streams on {chips}")
        for arch, chips in (
            ("sm_75", "NVIDIA Turing"),
            ("sm_80", "NVIDIA Ampere and Ada, from A100 and RTX 30 to RTX 40 and Jetson Orin"),
            ("sm_90", "NVIDIA H100 and H200"),
            ("sm_100", "NVIDIA B100 and B200"),
            ("sm_120", "NVIDIA RTX 50"),
        )
    ),
    Target("opencl", "opencl", "kernels for many streams on any device with OpenCL"),
    Target("metal", "metal", "kernels for Apple's GPUs, as source; no Apple machine has run them"),
    Target("c", "c", "C11 sources for any machine, without Python; proved here with the host's compiler"),
    Target("relax", "relax", "as cpu, for what it does not cover: TVM's own operators, one after the other"),
    Target("onnxruntime", "onnxruntime", "any machine with onnxruntime", reads_step=True),
)
TARGETS: Mapping[str, Target] = {target.name: target for target in _ALL}


def target(name: str) -> Target:
    """The target of that name; `cuda:sm_90` is `cuda-sm_90`. Raises UnknownTarget naming those that exist."""
    name = name.replace(":", "-")
    if name not in TARGETS:
        raise UnknownTarget(f"no target is called {name!r}", fix="use one of " + ", ".join(TARGETS))
    return TARGETS[name]


def compile_half(target: Target) -> CompileHalf:
    """The compile half of the target's backend."""
    return cast(CompileHalf, importlib.import_module(f"millstream.targets.{target.backend}"))


def missing(target: Target) -> tuple[str, ...]:
    """The lines that install what this host lacks to compile for the target and to run it here."""
    lines = list(compile_half(target).missing(target))
    if has_backend(target.backend):
        lines.append(load_backend(target.backend).missing())
    return tuple(dict.fromkeys(line for line in lines if line))


def open_step(files: Mapping[str, bytes], spec: ModelSpec, compiled: TargetSpec) -> Step:
    """Open a compiled target on this host: with its run half, or with its compile half where it has none, or
    was made for another kind of machine.

    Raises a BackendError when it cannot run here, BackendUnknown for a backend that nobody knows.
    """
    known = next((t for t in TARGETS.values() if t.backend == compiled.backend), None)
    if known is None or runs_here(compiled):
        return load_backend(compiled.backend).open(files, spec, compiled)
    return cast(HostHalf, compile_half(known)).open(files, spec, compiled)
