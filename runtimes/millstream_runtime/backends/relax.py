"""Run half of the Relax backend: a shared library that TVM's virtual machine steps through.

It needs TVM's runtime libraries, which come with `apache-tvm`; the compiler and the Python package `tvm`,
which take a second and 150 MB to load, are left alone. A library holds one stream's step, so the streams of
a batch take turns.
"""

from __future__ import annotations

import importlib.util
import json
import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from millstream_runtime import machine
from millstream_runtime.backends.arrays import ALIGNMENT, aligned, check_arrays
from millstream_runtime.errors import BackendMissing, BackendRefused, PlanInvalid
from millstream_runtime.program import Buffer
from millstream_runtime.spec import ModelSpec, TargetSpec

if TYPE_CHECKING:
    from tvm_ffi import Module

_INSTALL = "pip install 'millstream[tvm]'"
#: The second holds TVM's sort.
_LIBRARIES = ("tvm_runtime", "tvm_runtime_extra")
#: In TVM's numbering: the CPU, the first of them, an allocator that keeps what it is given back.
_ON_CPU = (1, 0, 2)
#: What TVM raises.
_ERRORS = (RuntimeError, ValueError, TypeError, AttributeError, OSError)


def missing() -> str:
    """Empty when TVM is installed, else the line that installs it."""
    return "" if all(map(importlib.util.find_spec, ("tvm", "tvm_ffi"))) else _INSTALL


def open(files: Mapping[str, bytes], spec: ModelSpec, target: TargetSpec) -> RelaxStep:
    """Load `step.so`, and run it once on zeros, so that what does not fit shows here.

    Raises MachineMismatch, BackendMissing, PlanInvalid, and BackendRefused when TVM is another, does not take
    the library, or finds another model in it than `spec`.
    """
    machine.check(target.machine)
    if missing():
        raise BackendMissing("TVM is not installed", fix=_INSTALL)
    _check_release(files["tvm.json"])
    given = [(t.name, t.shape, t.dtype) for t in (*spec.graph_inputs, *spec.states)]
    made = [(t.name, t.shape, t.dtype) for t in spec.outputs]
    made += [(s.next_name, s.shape, s.dtype) for s in spec.states]
    step = RelaxStep(_loaded(files["step.so"]), tuple(given), tuple(made))
    step.try_once()
    return step


@dataclass(frozen=True)
class RelaxStep:
    """An opened library. `given` is what its function `main` takes and `made` what it returns, each as (name,
    shape without batch, dtype). See `backends.Step`."""

    library: Module
    given: tuple[tuple[str, tuple[int, ...], str], ...]
    made: tuple[tuple[str, tuple[int, ...], str], ...]
    chunks: None = None

    def bind(
        self,
        inputs: Sequence[np.ndarray],
        states: Sequence[np.ndarray],
        outputs: Sequence[np.ndarray],
        next_states: Sequence[np.ndarray],
    ) -> Callable[[], None]:
        """See `Step.bind`. Raises WrongShape or WrongDtype for arrays that do not fit."""
        arrays = [*inputs, *states, *outputs, *next_states]
        tensors = [*self.given, *self.made]
        batch = check_arrays([Buffer(n, "", dtype, math.prod(shape)) for n, shape, dtype in tensors], arrays)
        main = self._main()
        turns = []
        for stream in range(batch):
            rows = [
                array[stream : stream + 1].reshape(1, *shape)
                for array, (_, shape, _) in zip(arrays, tensors, strict=True)
            ]
            turns.append(_turn(main, rows[: len(self.given)], rows[len(self.given) :]))

        def call() -> None:
            for turn in turns:
                turn()

        return call

    def try_once(self) -> None:
        """Run on zeros, and compare the dtypes and shapes of the results. Raises BackendRefused."""
        zeros = [np.zeros((1, *shape), dtype) for _, shape, dtype in self.given]
        try:
            results = _results(self._main()(*map(_tensor, map(_aligned_copy, zeros))))
        except _ERRORS as error:
            raise BackendRefused("the compiled step does not run", where="step.so", why=str(error)) from error
        found = [(result.shape[1:], result.dtype.name) for result in results]
        wanted = [(shape, dtype) for _, shape, dtype in self.made]
        if found != wanted:
            raise BackendRefused(
                "the compiled step is not of this model",
                where="step.so",
                why=f"it makes {found}, not {wanted}",
            )

    def _main(self) -> Callable[..., Any]:
        """The step's function on a virtual machine of its own; the constants are the library's."""
        vm = self.library["vm_load_executable"]()
        vm["vm_initialization"](*_ON_CPU)
        return vm["main"]


def _turn(
    main: Callable[..., Any], given: Sequence[np.ndarray], made: Sequence[np.ndarray]
) -> Callable[[], None]:
    """One stream's call. A row that TVM cannot read where it lies is copied at every call."""
    read = [row if _is_readable(row) else _aligned_copy(row) for row in given]
    moved = [(copy, row) for copy, row in zip(read, given, strict=True) if copy is not row]
    tensors = [_tensor(row) for row in read]

    def turn() -> None:
        for copy, row in moved:
            copy[...] = row
        for row, result in zip(made, _results(main(*tensors)), strict=True):
            row[...] = result

    return turn


def _is_readable(row: np.ndarray) -> bool:
    """TVM's code reads whole cache lines, and DLPack cannot tell it that an array may not be written."""
    return row.ctypes.data % ALIGNMENT == 0 and row.flags.writeable


def _aligned_copy(array: np.ndarray) -> np.ndarray:
    copy = aligned(array.nbytes).view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


def _tensor(array: np.ndarray) -> Any:
    """TVM's view of an array."""
    import tvm_ffi

    return tvm_ffi.from_dlpack(array)


def _results(returned: Any) -> list[np.ndarray]:
    """What `main` returned: one tensor, or several."""
    tensors = [returned] if hasattr(returned, "__dlpack__") else returned
    return [np.from_dlpack(tensor) for tensor in tensors]


def _check_release(data: bytes) -> None:
    """Raise BackendRefused unless TVM is of the release that made the library, PlanInvalid for no release."""
    try:
        wanted = json.loads(data)["tvm"]
    except (ValueError, TypeError, KeyError) as error:
        raise PlanInvalid("the release of TVM cannot be read", where="tvm.json", why=str(error)) from error
    here = version("apache-tvm")
    if here.split(".")[:2] != str(wanted).split("."):
        raise BackendRefused(
            f"the step was compiled for TVM {wanted}, and this is {here}",
            fix=f"pip install 'apache-tvm=={wanted}.*'",
        )


def _loaded(code: bytes) -> Module:
    """The loaded library. It passes through a file that only this user can read, and that is gone later."""
    import tvm_ffi
    from tvm_ffi.libinfo import load_lib_ctypes

    package = importlib.util.find_spec("tvm")
    folders = [Path(place) / "lib" for place in package.submodule_search_locations or ()] if package else []
    with tempfile.TemporaryDirectory(prefix="millstream-") as folder:
        path = Path(folder) / "step.so"
        path.write_bytes(code)
        try:
            for name in _LIBRARIES:
                load_lib_ctypes("apache-tvm", name, "RTLD_GLOBAL", folders)
            return tvm_ffi.load_module(path, keep_module_alive=False)
        except _ERRORS as error:
            raise BackendRefused(
                "the compiled step cannot be loaded", where="step.so", why=str(error)
            ) from error
