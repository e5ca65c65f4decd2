"""Compile half of the Relax backend: TVM's own operators, for graphs that the fused program does not cover.

Two files: `step.so`, which holds kernels, constants and the function that calls one kernel after the other;
`tvm.json`, the version of TVM whose virtual machine runs it.
"""

from __future__ import annotations

import json
import math
from importlib.metadata import version

from millstream.fold import single_stream
from millstream.gap import Gap
from millstream.graph import StepGraph, initializers
from millstream.targets import Compiled, Contract, Target
from millstream.targets.relax.coverage import find_gaps
from millstream.targets.relax.library import build
from millstream.targets.relax.widen import widen
from millstream.targets.tools import require
from millstream.targets.tvm import missing_for
from millstream.targets.tvm.levels import best
from millstream_runtime import machine
from millstream_runtime.spec import Memory, Tolerance

_TOLERANCE = Tolerance(
    relative=1e-5,
    absolute=1e-7,
    reason="float32 sums in another order and fused multiply-adds; TVM's own elementary functions",
)


def missing(target: Target) -> tuple[str, ...]:
    """The lines that install TVM and a linker, where they lack."""
    return missing_for(best(machine.here()))


def gaps(graph: StepGraph, target: Target) -> list[Gap]:
    """Every node that TVM refuses or is known to get wrong. Raises ToolMissing without TVM or a linker."""
    require("the Relax target", missing(target))
    return find_gaps(single_stream(graph), best(machine.here()))


def compile(graph: StepGraph, target: Target, contract: Contract) -> Compiled:
    """Compile one stream's step for the level of this host's CPU. Raises ToolMissing."""
    require("the Relax target", missing(target))
    level = best(machine.here())
    single = StepGraph(single_stream(graph))
    built = build(single.to_bytes(), level)
    weights = sum(array.nbytes for array in initializers(widen(single.model)).values())
    state = sum(math.prod(n or 1 for n in t.shape) * t.dtype.itemsize for t in single.state_tensors)
    return Compiled(
        files={"step.so": built.library, "tvm.json": json.dumps({"tvm": _tvm_release()}).encode()},
        memory=Memory(weights, state, built.scratch_bytes),
        tolerance=_TOLERANCE,
        machine=level.machine,
    )


def _tvm_release() -> str:
    """Major and minor version: between those TVM changes the form of its libraries."""
    return ".".join(version("apache-tvm").split(".")[:2])
