"""From a model to a shared library that TVM's virtual machine for Relax opens."""

from __future__ import annotations

import contextlib
import functools
import io
import math
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import onnx

from millstream.linker import link, linker
from millstream.targets.relax.indices import bound
from millstream.targets.relax.schedule import schedule
from millstream.targets.relax.widen import widen
from millstream.targets.tvm.build import keys
from millstream.targets.tvm.levels import Level
from millstream.user_code import guarded, reason
from millstream_runtime.errors import MillstreamError

if TYPE_CHECKING:
    from tvm.ir import IRModule
    from tvm.target import Target

#: With indices of 32 bits LLVM makes vectors of loops in which an index wraps round at a power of two, such
#: as those of Tile, and leaves out the check that it does not (TVM 0.27, LLVM 22).
_LEFT_OUT = ("tirx.NarrowDataType",)
# Names of temporary files stay out, so that the same model gives the same bytes.
_LINK_OPTIONS = ("-shared", "-s", "-Wl,--build-id=none", "-lm")
_REFUSAL = "TVM does not compile the model"
_ALLOCATE = "relax.vm.alloc_storage"

T = TypeVar("T")


class Refused(MillstreamError):
    """TVM does not compile a model; `why` has its own words."""


@dataclass(frozen=True)
class Built:
    """A shared library, and the bytes of memory that one call of its function `main` takes for itself."""

    library: bytes
    scratch_bytes: int


@functools.lru_cache(maxsize=1)
def build(model: bytes, level: Level) -> Built:
    """Compile a serialised model of static shapes. Raises Refused, or LinkFailed.

    The last result is kept, because whether TVM takes a model is only known once it is compiled.
    """
    target = _target(level)
    with _quiet():
        module = _lowered(onnx.load_from_string(model), target)
        scratch_bytes = _scratch_bytes(module)
        return Built(_tvm(lambda: _machine_code(module, target)), scratch_bytes)


def check(model: onnx.ModelProto, level: Level) -> None:
    """All that `build` does before there is machine code. Raises Refused."""
    with _quiet():
        _scratch_bytes(_lowered(model, _target(level)))


def _lowered(model: onnx.ModelProto, target: Target) -> IRModule:
    """Import, fuse, and order loops: a module of loop nests and the function that calls them."""
    from tvm.ir.transform import Sequential
    from tvm.relax import transform
    from tvm.relax.backend.cpu_generic import pipeline
    from tvm.relax.frontend.onnx import from_onnx

    fuse = [
        *pipeline.library_dispatch_passes(target),
        transform.DecomposeOpsForInference(),
        *pipeline.legalize_passes(target),
        transform.DeadCodeElimination(),
    ]
    plan = [*pipeline.dataflow_lower_passes(target), *pipeline.finalize_passes(target)]
    prepared: Any = bound(widen(model))  # TVM's own annotation of from_onnx is wrong
    with target:
        module = schedule(_tvm(lambda: Sequential(fuse)(from_onnx(prepared))))
        return _tvm(lambda: Sequential(plan)(module))


def _machine_code(module: IRModule, target: Target) -> bytes:
    from tvm import relax
    from tvm.ir.transform import PassContext

    with PassContext(disabled_pass=_LEFT_OUT):
        compiled = relax.build(module, target, relax_pipeline=None, exec_mode="compiled")
    with tempfile.TemporaryDirectory(prefix="millstream-") as folder:
        path = Path(folder) / "step.so"
        compiled.export_library(str(path), fcompile=_link)
        return path.read_bytes()


def _tvm(run: Callable[[], T]) -> T:
    """What TVM makes; what it raises becomes Refused.

    The error itself is let go here, where TVM is kept quiet: a half-built module complains when it goes.
    """
    try:
        return guarded(run, lambda error: Refused(_REFUSAL, why=reason(error)))
    except Refused as refused:
        why = refused.why
    raise Refused(_REFUSAL, why=why)


def _scratch_bytes(module: Any) -> int:
    """What `main` of the lowered module allocates in a call. Raises Refused when that depends on data."""
    from tvm import relax

    sizes: list[Any] = []

    def visit(expression: Any) -> None:
        if getattr(getattr(expression, "op", None), "name", "") == _ALLOCATE:
            sizes.append(expression.args[0])

    relax.analysis.post_order_visit(module["main"], visit)
    if not all(isinstance(size, relax.ShapeExpr) for size in sizes):
        raise Refused(
            "TVM does not compile the model", why="how much memory it takes is only known at run time"
        )
    return sum(math.prod(map(int, size.values)) for size in sizes)


def _target(level: Level) -> Target:
    from tvm.target import Target

    return Target({"kind": "llvm", **keys(level)})


def _link(library: str, objects: Sequence[str], **options: object) -> None:
    """What `export_library` calls to link; TVM's own functions are found when the library is loaded."""
    link([linker(), *objects, *_LINK_OPTIONS, "-o", library])


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep TVM's chatter off the terminal, also what C++ writes to standard error; its errors still raise."""
    kept = os.dup(2)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
