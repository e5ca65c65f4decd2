"""The step in C on the host: compiled by the host's own compiler and called through ctypes.

A device runs the sources without Python; this is how an export proves them and `millstream verify` checks
them. Arrays are copied into the structs of `step.h` and out of them.
"""

from __future__ import annotations

import ctypes
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from millstream.linker import INSTALL, linker
from millstream.targets.c.layout import Layout, Member, layout, record
from millstream_runtime.backends.arrays import aligned, check_arrays
from millstream_runtime.errors import BackendMissing, BackendRefused
from millstream_runtime.program import Buffer
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
        groups = (self._layout.input, self._layout.state, self._layout.output, self._layout.state)
        buffers = [_buffer(member) for members in groups for member in members]
        batch = check_arrays(buffers, [*inputs, *states, *outputs, *next_states])
        records = [_Records(members, batch) for members in groups]
        scratch = aligned(max(self._scratch_bytes, 1))
        calls = [
            [
                ctypes.c_void_p(address)
                for address in (*(r.address(stream) for r in records), scratch.ctypes.data)
            ]
            for stream in range(batch)
        ]
        copies_in = [*records[0].pairs(inputs), *records[1].pairs(states)]
        copies_out = [*records[2].pairs(outputs), *records[3].pairs(next_states)]
        step = self._step

        def call(kept: object = (records, scratch)) -> None:  # the arguments hold no more than addresses
            for inside, outside in copies_in:
                np.copyto(inside, outside)
            for arguments in calls:
                step(*arguments)
            for inside, outside in copies_out:
                np.copyto(outside, inside)

        return call


class _Records:
    """One C struct per stream."""

    def __init__(self, members: Sequence[Member], batch: int) -> None:
        self._members = members
        self._dtype = record(members)
        self._memory = aligned(max(batch * self._dtype.itemsize, 1))
        self._batch = batch

    def address(self, stream: int) -> int:
        return self._memory.ctypes.data + stream * self._dtype.itemsize

    def pairs(self, arrays: Sequence[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
        """For each array with elements: the members of the structs, and the array, both (batch, size)."""
        used = [(member, array) for member, array in zip(self._members, arrays, strict=True) if member.size]
        if not used:
            return []
        structs = self._memory[: self._batch * self._dtype.itemsize].view(self._dtype)
        return [(structs[member.name], array.reshape(self._batch, member.size)) for member, array in used]


def _buffer(member: Member) -> Buffer:
    return Buffer(member.tensor.name, "", member.tensor.dtype, member.size)
