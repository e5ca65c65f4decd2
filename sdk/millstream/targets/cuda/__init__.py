"""Compile half of the CUDA backend: the step as kernels for one generation of NVIDIA's GPUs.

The host needs NVIDIA's compiler (a wheel) and no GPU. Files: `step.cubin`, machine code; `weights.bin`,
packed for these kernels; `layout.json`, the launches of a step; and `step.cl`, the same kernels in OpenCL C,
by which hosts without such a GPU prove them.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec

from millstream import lower
from millstream.gap import Gap
from millstream.graph import StepGraph
from millstream.targets import Compiled, Contract, Target
from millstream.targets.gpu import proving
from millstream.targets.gpu.build import cubin, cuda_source, opencl_source, without_prelude
from millstream.targets.gpu.compiling import SPREAD, Choice, kernels, packaged
from millstream.targets.gpu.forms import Tile
from millstream.targets.tools import require
from millstream.targets.tvm.build import missing_tvm
from millstream_runtime.backends import Step, cuda
from millstream_runtime.errors import BackendError
from millstream_runtime.program import Program
from millstream_runtime.spec import Machine, ModelSpec, TargetSpec

_PREFIX = "cuda-"
#: Shared memory that a block may have on every GPU that runs code for a compute capability.
SHARED_BYTES = {
    "sm_75": 64 << 10,
    "sm_80": 99 << 10,
    "sm_90": 227 << 10,
    "sm_100": 227 << 10,
    "sm_120": 99 << 10,
}
#: Bytes of weights that one block reads in tens of microseconds.
_FOR_ONE_BLOCK = 8 << 20
_INSTALL = "pip install 'millstream[cuda-host]'"


def missing(target: Target) -> tuple[str, ...]:
    """The lines that install TVM, NVIDIA's compiler and an OpenCL device, where they lack."""
    return (*_missing_to_compile(), *proving.missing())


def _missing_to_compile() -> tuple[str, ...]:
    found = not cuda.missing() and find_spec("nvidia") and find_spec("nvidia.cu13")
    return (*missing_tvm(), *(() if found else (_INSTALL,)))


def gaps(graph: StepGraph, target: Target) -> list[Gap]:
    """Every node that the lowering cannot express."""
    return lower.gaps(graph)


def compile(graph: StepGraph, target: Target, contract: Contract) -> Compiled:
    """The four files. Raises ToolMissing, KernelsInvalid."""
    lowered = lower.lower(graph)
    return compile_program(lowered.program, lowered.weights, target.name.removeprefix(_PREFIX))


def compile_program(program: Program, weights: bytes, arch: str) -> Compiled:
    """The files of a lowered program for a compute capability, such as `sm_90`."""
    require("the step", _missing_to_compile())
    made = kernels(program, weights, choices(program), SHARED_BYTES[arch])
    sources = {
        "step.cubin": cubin(without_prelude(cuda_source(made.functions, arch)), arch),
        proving.FILE: opencl_source(made.functions).encode(),
    }
    return packaged(made, program, sources, Machine(arch=arch))


def choices(program: Program) -> tuple[Choice, ...]:
    """As measured on an H100 (`benchmarks/gpu_streams.py`), but for large weights from the second choice on:
    from when on each is better there is an estimate (docs/gpu.md).

    Few streams go whole through a block each, where one block reads the weights fast enough by itself.
    """
    narrow, wide = Tile(1, 256), Tile(64, 128)
    if program.weight_bytes <= _FOR_ONE_BLOCK:
        return (
            Choice(1, (narrow,)),
            Choice(512, (Tile(8, 512),)),
            Choice(4096, (wide, narrow)),
        )
    return (
        Choice(1, (narrow, Tile(1, 1024))),
        Choice(SPREAD.streams, (SPREAD, Tile(1, 1024))),
        Choice(1024, (wide, narrow)),
    )


def open(files: Mapping[str, bytes], spec: ModelSpec, target: TargetSpec) -> Step:
    """The step on the GPU of this host, or where it has none of that kind as OpenCL. Raises BackendRefused,
    PlanInvalid."""
    if not cuda.missing():
        try:
            return cuda.open(files, spec, target)
        except BackendError:
            pass  # No such GPU.
    return proving.open_proof(files)
