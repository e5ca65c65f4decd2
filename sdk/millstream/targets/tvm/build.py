"""From TVMScript to a shared library that needs nothing but libm and libc."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from millstream.linker import link, linker
from millstream.targets.tvm.levels import ANY, Level
from millstream.targets.tvm.module import module_of

if TYPE_CHECKING:
    from tvm.ir.transform import Pass

# Nothing of the build itself goes in, such as names of temporary files: the same program, the same bytes.
_LINK_OPTIONS = ("-shared", "-s", "-Wl,--build-id=none", "-Wl,-z,defs", "-lm")
# A function of a stage is called for many frames and layers: a copy at each call would gain nothing. LLVM is
# told that instructions are dear; its threshold for inlining cannot be set from here.
_NO_INLINING = "-inline-instr-cost:int=1000"


def build(source: str, level: Level) -> bytes:
    """TVMScript to the bytes of a shared library."""
    import tvm

    target = tvm.target.Target({"kind": "llvm", "cl-opt": [_NO_INLINING], **keys(level)})
    module = tvm.tirx.transform.BindTarget(target.with_host(target))(module_of(source))
    code = tvm.get_global_func("target.build.llvm")(_lowering()(module), target)
    with tempfile.TemporaryDirectory(prefix="millstream-") as folder:
        compiled, linked = Path(folder) / "step.o", Path(folder) / "step.so"
        code.write_to_file(str(compiled), "o")
        link([linker(), str(compiled), *_LINK_OPTIONS, "-o", str(linked)])
        return linked.read_bytes()


def keys(level: Level) -> dict[str, Any]:
    """The level as keys of TVM's target."""
    return {} if level is ANY else {"mcpu": level.mcpu, "mattr": list(level.attributes)}


def _lowering() -> Pass:
    """TVM's own pipeline for CPUs, cut down to what a printed step needs.

    Left out on purpose are its simplifier and its common subexpressions: on floats they take x - x for 0
    and not (x < y) for x >= y, which NaN and infinity break, they fold (x + c) - c, and they lift divisions
    out of their guards. LLVM does the same work and keeps to the rules.
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
            tirx.transform.NarrowDataType(32),
            tirx.transform.VectorizeLoop(),
            tirx.transform.LowerTVMBuiltin(),
            tirx.transform.LowerIntrin(),
        ]
    )
