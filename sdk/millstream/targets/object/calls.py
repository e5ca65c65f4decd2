"""What a kernel may leave to the program that it is linked into, and the refusal of all else."""

from __future__ import annotations

from collections.abc import Sequence

from millstream.errors import CallsUnresolved
from millstream.targets.tvm.formulas import LIBM

#: Beside those that the printer names: LLVM calls some where the machine has no instruction.
_FUNCTIONS = (*LIBM, "pow", "fmod", "sqrt", "floor", "ceil", "nearbyint")
_LIBM = frozenset(name + suffix for name in _FUNCTIONS for suffix in ("", "f"))
#: A compiler for bare metal asks for these itself, and every one brings them.
_MEMORY = frozenset(("memcpy", "memmove", "memset"))
#: Names of the run-time ABI for the Arm architecture: arithmetic without an instruction, as of float64.
_ARM = "__aeabi_"
#: JavaScript has the others.
_NOT_IN_JAVASCRIPT = frozenset(("erf",))


def check_calls(calls: Sequence[str], target: str, wasm: bool) -> None:
    """Raise CallsUnresolved for what the target's machine does not bring."""
    allowed = _LIBM - _NOT_IN_JAVASCRIPT if wasm else _LIBM | _MEMORY
    unknown = [name for name in calls if name not in allowed and (wasm or not name.startswith(_ARM))]
    if unknown:
        raise CallsUnresolved(
            "the kernel calls what nobody brings",
            where=f"target {target}",
            why=", ".join(unknown),
            fix="take float32 where the model computes in float64, or target c",
        )


def describe(calls: Sequence[str]) -> str:
    """A sentence on what has to be linked with a kernel that calls these; empty when it stands alone."""
    mathematics = [name for name in calls if name in _LIBM]
    own = [name for name in calls if name not in _LIBM]
    parts = [f"functions of <math.h>: {', '.join(mathematics)}"] if mathematics else []
    parts += [f"functions that every compiler brings: {', '.join(own)}"] if own else []
    return f"The kernel calls {'; and '.join(parts)}." if parts else ""
