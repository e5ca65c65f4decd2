"""Compile half for Metal: the step as kernels in the Metal shading language, as source. No run half exists.

Files: `step.metal`; `weights.bin`, packed for these kernels; `layout.json`, the launches of a step; and
`step.cl`, the same kernels in OpenCL C, by which a host proves them. No Apple machine has run them.
"""

from __future__ import annotations

from collections.abc import Mapping

from millstream import lower
from millstream.gap import Gap
from millstream.graph import StepGraph
from millstream.targets import Compiled, Contract, Target
from millstream.targets.gpu import proving
from millstream.targets.gpu.build import metal_source, opencl_source
from millstream.targets.gpu.compiling import packaged, portable
from millstream.targets.tvm.build import missing_tvm
from millstream_runtime.backends import Step
from millstream_runtime.program import Program
from millstream_runtime.spec import Machine, ModelSpec, TargetSpec


def missing(target: Target) -> tuple[str, ...]:
    """The lines that install TVM and an OpenCL device, where they lack."""
    return (*missing_tvm(), *proving.missing())


def gaps(graph: StepGraph, target: Target) -> list[Gap]:
    """Every node that the lowering cannot express; else what is in float64, which Metal does not have."""
    found = lower.gaps(graph)
    if found:
        return found
    names = wide_buffers(lower.lower(graph).program)
    return [Gap("float64", name, "", "Metal has no float64", "keep it in float32") for name in names]


def wide_buffers(program: Program) -> list[str]:
    """The buffers of float64, by name."""
    return sorted(buffer.name for buffer in program.buffers if buffer.dtype == "float64")


def compile(graph: StepGraph, target: Target, contract: Contract) -> Compiled:
    """The four files. Raises ToolMissing without TVM."""
    lowered = lower.lower(graph)
    return compile_program(lowered.program, lowered.weights)


def compile_program(program: Program, weights: bytes) -> Compiled:
    """The files of a lowered program. Raises ToolMissing."""
    made = portable(program, weights)
    sources = {
        "step.metal": metal_source(made.functions).encode(),
        proving.FILE: opencl_source(made.functions).encode(),
    }
    return packaged(made, program, sources, Machine("darwin", "apple-gpu"))


def open(files: Mapping[str, bytes], spec: ModelSpec, target: TargetSpec) -> Step:
    """The step as OpenCL. Raises BackendRefused, PlanInvalid."""
    return proving.open_proof(files)
