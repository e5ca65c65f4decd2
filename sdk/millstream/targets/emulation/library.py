"""A library of the TVM backend for another Linux, which runs in an emulator as it is shipped."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from millstream.targets.emulation.machines import Linux
from millstream.targets.emulation.process import EmulatedProgram, start
from millstream_runtime.backends.table import TableStep
from millstream_runtime.backends.tvm import BATCH, CHUNK, ONE, read_layout

_GIVEN = ("input", "state")


def open_library(files: Mapping[str, bytes], machine: Linux) -> TableStep:
    """Start a program that loads `step.so`, and bind tables to it instead of to addresses here.

    Raises PlanInvalid, BackendMissing. A library that cannot be loaded shows at the first call, which raises
    EmulationFailed as any does when the program stops.
    """
    layout = read_layout(files["layout.json"])
    names = tuple(layout.functions)
    program = start(files, machine, machine.build_library(), [*machine.run, *names])
    given = sum(buffer.role in _GIVEN for buffer in layout.callers)
    routines = {
        name: _Routine(program, names.index(name), scratch, given)
        for name, (_, scratch) in layout.functions.items()
    }
    streams, frames = (layout.functions.get(name, (0, 0))[0] for name in (BATCH, CHUNK))
    # The program has read the weights itself.
    return TableStep(_Code(routines, streams, frames), layout.callers, np.empty(0, np.uint8))


@dataclass(frozen=True)
class _Routine:
    """A function of the library by its number; see `table.Routine`. `given` arrays come first."""

    program: EmulatedProgram
    number: int
    scratch_bytes: int
    given: int

    def bind(
        self, code: object, runs: int, weights: np.ndarray, arrays: Sequence[np.ndarray]
    ) -> Callable[[], None]:
        given, taken = arrays[: self.given], arrays[self.given :]
        sizes = (array.nbytes for array in arrays)
        head = (self.number, runs, self.scratch_bytes, len(given), len(taken), *sizes)
        request = np.array(head, np.uint64)
        return functools.partial(self.program.exchange, [request, *given], taken)


@dataclass(frozen=True)
class _Code:
    """See `table.Code`."""

    routines: Mapping[str, _Routine]
    streams: int
    frames: int

    def one(self) -> _Routine:
        return self.routines[ONE]

    def batch(self) -> _Routine:
        return self.routines[BATCH]

    def chunk(self) -> _Routine:
        return self.routines[CHUNK]
