"""Programs through the targets that are made for other machines, in their emulators."""

from __future__ import annotations

from backend_programs import Opener, contract_of

from millstream import targets
from millstream.targets import object as object_half
from millstream.targets import tvm as tvm_half
from millstream.targets.tvm.levels import LEVELS
from millstream_runtime.backends import Step
from millstream_runtime.program import Program
from millstream_runtime.spec import TargetSpec

KERNELS = tuple(name for name, target in targets.TARGETS.items() if target.backend == "object")
LIBRARIES = ("aarch64-linux", "aarch64-linux-dotprod")


def emulated(name: str) -> Opener:
    """Opens a program through the files that a bundle would hold for the target of that name."""
    target = targets.target(name)

    def opener(program: Program, weights: bytes) -> Step:
        contract = contract_of(program)
        if target.backend == "tvm":
            made = tvm_half.compile_program(program, weights, LEVELS[name])
        else:
            made = object_half.compile_program(program, weights, contract, target)
        memory = made.memory
        compiled = TargetSpec(name, target.backend, (), made.tolerance, memory, made.machine)
        return targets.open_step(made.files, contract.spec, compiled)

    return opener
