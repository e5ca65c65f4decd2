"""A kernel behind the C interface, `step.h` and `step.c`, that runs in an emulator."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from millstream.targets.c.layout import Layout
from millstream.targets.c.structs import Structs, bind_structs
from millstream.targets.emulation.machines import EmulatedMachine
from millstream.targets.emulation.process import EmulatedProgram, start


def open_kernel(files: Mapping[str, bytes], layout: Layout, machine: EmulatedMachine) -> EmulatedKernel:
    """Build the proving program around the files of a target and start it.

    Raises BackendMissing, BackendRefused when the files cannot be built.
    """
    return EmulatedKernel(start(files, machine, machine.build(layout.prefix), machine.run), layout)


class EmulatedKernel:
    """An opened step; see `millstream_runtime.backends.Step`. A call raises EmulationFailed."""

    chunks = None

    def __init__(self, program: EmulatedProgram, layout: Layout) -> None:
        self._program = program
        self._layout = layout

    def bind(
        self,
        inputs: Sequence[np.ndarray],
        states: Sequence[np.ndarray],
        outputs: Sequence[np.ndarray],
        next_states: Sequence[np.ndarray],
    ) -> Callable[[], None]:
        """See `Step.bind`. Raises WrongShape or WrongDtype for arrays that do not fit."""

        def prepare(structs: Structs) -> Callable[[], None]:
            given, taken = (structs.input, structs.state), (structs.output, structs.next)
            return functools.partial(self._program.exchange, given, taken)

        return bind_structs(self._layout, prepare, inputs, states, outputs, next_states)
