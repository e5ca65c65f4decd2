"""Compile half of the Numba backend: the lowered program as data; the device compiles it."""

from __future__ import annotations

from millstream import lower
from millstream.gap import Gap
from millstream.graph import StepGraph
from millstream.targets import Compiled, Contract, Target
from millstream.targets.blocks import block
from millstream.targets.packed_weights import pack_weights
from millstream_runtime import plan
from millstream_runtime.program import Program, state_bytes
from millstream_runtime.spec import Memory, Tolerance

_TOLERANCE = Tolerance(
    relative=1e-5,
    absolute=1e-7,
    reason="float32 sums in another order and fused multiply-adds; exp, tanh and erf to a few ulp",
)

#: The device is not known: LLVM cuts vectors for the widest registers into those that there are.
_LANES = 16


def missing(target: Target) -> tuple[str, ...]:
    """Nothing: this half only writes data."""
    return ()


def gaps(graph: StepGraph, target: Target) -> list[Gap]:
    """Every node that the lowering cannot express."""
    return lower.gaps(graph)


def compile(graph: StepGraph, target: Target, contract: Contract) -> Compiled:
    """`plan.json`, the program, and `weights.bin`, its constants."""
    lowered = lower.lower(graph)
    return compile_program(lowered.program, lowered.weights)


def compile_program(program: Program, weights: bytes) -> Compiled:
    """The files of a lowered program."""
    blocked = block(program, weights, _LANES)
    laid = pack_weights(blocked.program, blocked.weights)
    return Compiled(
        files={"plan.json": plan.dump(laid.program), "weights.bin": laid.weights},
        memory=Memory(laid.program.weight_bytes, state_bytes(program), laid.program.scratch_bytes),
        tolerance=_TOLERANCE,
    )
