"""The step in C on the host: compiled by the host's own compiler and called through ctypes.

A device runs the sources without Python; this is how an export proves them and `millstream verify` checks
them.
"""

from __future__ import annotations

import ctypes
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from millstream.linker import INSTALL, linker
from millstream.targets.c.layout import Layout, layout
from millstream.targets.c.structs import Structs, bind_structs
from millstream_runtime.backends.arrays import aligned
from millstream_runtime.errors import BackendMissing, BackendRefused
from millstream_runtime.spec import ModelSpec

_OPTIONS = ("-std=c11", "-O2", "-shared", "-fPIC")


def open_library(files: Mapping[str, bytes], spec: ModelSpec, scratch_bytes: int) -> Library:
    """Compile the sources in a private folder and load the result.

    Raises BackendMissing without a C compiler, BackendRefused when it refuses the sources.
    """
    compiler = linker()
    if not compiler:
        raise BackendMissing("there is no C compiler", fix=INSTALL)
    with tempfile.TemporaryDirectory(prefix="millstream-") as folder:
        for name, data in files.items():
            (Path(folder) / name).write_bytes(data)
        sources = [name for name in sorted(files) if name.endswith(".c")]
        command = [compiler, *_OPTIONS, *sources, "-lm", "-o", "step.so"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        if done.returncode:
            raise BackendRefused(
                "the C compiler refuses the step", where=" ".join(command), why=done.stderr.strip()
            )
        return Library(ctypes.CDLL(str(Path(folder) / "step.so")), layout(spec), scratch_bytes)


class Library:
    """An opened step; see `millstream_runtime.backends.Step`."""

    chunks: None = None

    def __init__(self, library: ctypes.CDLL, layout: Layout, scratch_bytes: int) -> None:
        self._step = library[f"{layout.prefix}_step"]
        self._layout = layout
        self._scratch_bytes = scratch_bytes

    def bind(
        self,
        inputs: Sequence[np.ndarray],
        states: Sequence[np.ndarray],
        outputs: Sequence[np.ndarray],
        next_states: Sequence[np.ndarray],
    ) -> Callable[[], None]:
        """See `Step.bind`. Raises WrongShape or WrongDtype for arrays that do not fit."""
        function, scratch = self._step, aligned(max(self._scratch_bytes, 1))

        def prepare(structs: Structs) -> Callable[[], None]:
            arrays = (structs.input, structs.state, structs.output, structs.next, scratch)
            addresses = [ctypes.c_void_p(array.ctypes.data) for array in arrays]

            def step(kept: object = arrays) -> None:  # the addresses keep nothing alive
                function(*addresses)

            return step

        return bind_structs(self._layout, prepare, inputs, states, outputs, next_states)
