"""Compile half of the OpenCL backend: the step as kernels in OpenCL C, for graphics of any maker.

Three files: `step.cl`, which the device's driver compiles; `weights.bin`, packed for these kernels;
`layout.json`, the launches of a step. The run half opens them.
"""

from __future__ import annotations

from millstream import lower
from millstream.gap import Gap
from millstream.graph import StepGraph
from millstream.targets import Compiled, Contract, Target
from millstream.targets.gpu import proving
from millstream.targets.gpu.build import opencl_source
from millstream.targets.gpu.compiling import packaged, portable
from millstream.targets.tvm.build import missing_tvm
from millstream_runtime.program import Program


def missing(target: Target) -> tuple[str, ...]:
    """The lines that install TVM and an OpenCL device, where they lack."""
    return (*missing_tvm(), *proving.missing())


def gaps(graph: StepGraph, target: Target) -> list[Gap]:
    """Every node that the lowering cannot express."""
    return lower.gaps(graph)


def compile(graph: StepGraph, target: Target, contract: Contract) -> Compiled:
    """The three files. Raises ToolMissing without TVM."""
    lowered = lower.lower(graph)
    return compile_program(lowered.program, lowered.weights)


def compile_program(program: Program, weights: bytes) -> Compiled:
    """The files of a lowered program. Raises ToolMissing."""
    made = portable(program, weights)
    return packaged(made, program, {"step.cl": opencl_source(made.functions).encode()})
