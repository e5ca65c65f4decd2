"""From TVMScript to machine code: an object file, and the library or the kernel that is linked from it."""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from millstream.linker import link
from millstream.targets.tvm.levels import Level
from millstream.targets.tvm.module import module_of
from millstream_runtime.spec import Tolerance

if TYPE_CHECKING:
    from tvm.ir.transform import Pass

#: Of what is built here.
TOLERANCE = Tolerance(
    relative=1e-5,
    absolute=1e-7,
    reason="float32 sums in another order and fused multiply-adds; exp, tanh and erf to a few ulp",
)
# Nothing of the build itself goes in, such as names of temporary files: the same program, the same bytes.
_SHARED = ("-shared", "-s", "-Wl,--build-id=none", "-Wl,-z,defs")
# A function of a stage is called for many frames and layers: a copy at each call would gain nothing. LLVM is
# told that instructions are dear; its threshold for inlining cannot be set from here.
_NO_INLINING = "-inline-instr-cost:int=1000"


def missing_tvm() -> tuple[str, ...]:
    """The line that installs TVM, where it lacks."""
    return () if importlib.util.find_spec("tvm") else ("pip install 'millstream[export]'",)


def build_library(source: str, level: Level, compiler: str) -> bytes:
    """A shared library of a script, which needs nothing but libm and libc. Raises LinkFailed."""
    return _linked(source, level, [compiler, *_SHARED], ["-lm"])


def build_kernel(source: str, level: Level, linker: Sequence[str]) -> bytes:
    """An object file of a script for a linker elsewhere: its code alone, without what TVM puts beside it.

    `linker` is the command that links objects to one object. Raises LinkFailed.
    """
    return _linked(source, level, linker, [])


def _linked(source: str, level: Level, before: Sequence[str], after: Sequence[str]) -> bytes:
    """What a linker makes of a script's object file, which stands between two parts of its command."""
    import tvm

    target = tvm.target.Target({"kind": "llvm", "cl-opt": [_NO_INLINING], **keys(level)})
    module = tvm.tirx.transform.BindTarget(target.with_host(target))(module_of(source))
    code = tvm.get_global_func("target.build.llvm")(_lowering()(module), target)
    with tempfile.TemporaryDirectory(prefix="millstream-") as folder:
        compiled, linked = Path(folder) / "step.o", Path(folder) / "linked"
        code.write_to_file(str(compiled), "o")
        link([*before, str(compiled), *after, "-o", str(linked)])
        return linked.read_bytes()


def keys(level: Level) -> dict[str, Any]:
    """The level as keys of TVM's target."""
    found = {"mtriple": level.triple, "mcpu": level.mcpu, "mattr": list(level.attributes)}
    found |= {"vector-width": 32 * level.lanes, **dict(level.abi)}
    return {key: value for key, value in found.items() if value}


def _lowering() -> Pass:
    """TVM's own pipeline for CPUs, cut down to what a printed step needs.

    Left out on purpose are its simplifier and its common subexpressions: on floats they take x - x for 0
    and not (x < y) for x >= y, which NaN and infinity break, they fold (x + c) - c, and they lift divisions
    out of their guards. LLVM does the same work and keeps to the rules. Indices are not narrowed either: no
    byte of the code changed by it, and LLVM makes wrong vectors where a narrowed index wraps round.
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
            tirx.transform.VectorizeLoop(),
            tirx.transform.LowerTVMBuiltin(),
            tirx.transform.LowerIntrin(),
        ]
    )
