"""A program in an emulator that stays open and answers requests through pipes."""

from __future__ import annotations

import contextlib
import io
import subprocess
import tempfile
import threading
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import numpy as np

from millstream.errors import EmulationFailed
from millstream.targets.emulation.machines import EmulatedMachine, missing
from millstream_runtime.errors import BackendMissing, BackendRefused

_PATIENCE_S = 10


def start(
    files: Mapping[str, bytes], machine: EmulatedMachine, build: Sequence[str], run: Sequence[str]
) -> EmulatedProgram:
    """Run two commands in a private folder with `files`: the one builds a program, if there is anything to
    build, the other starts it and stays.

    Raises BackendMissing without the machine's compiler and emulator, BackendRefused when the files cannot be
    built.
    """
    lacking = missing(machine)
    if lacking:
        raise BackendMissing("the machine cannot be emulated here", fix="; ".join(lacking))
    folder = tempfile.TemporaryDirectory(prefix="millstream-")
    for name, data in files.items():
        (Path(folder.name) / name).write_bytes(data)
    if build:
        done = subprocess.run(build, cwd=folder.name, capture_output=True, text=True)
        if done.returncode:
            folder.cleanup()
            raise BackendRefused(
                "the proving program cannot be built", where=" ".join(build), why=done.stderr.strip()
            )
    return EmulatedProgram(run, folder)


class EmulatedProgram:
    """A running program, which ends when it is not used any more. Threads take turns in it."""

    def __init__(self, command: Sequence[str], folder: tempfile.TemporaryDirectory[str]) -> None:
        self._turn = threading.Lock()
        self._where = " ".join(command)
        self._errors = Path(folder.name) / "errors.txt"
        with self._errors.open("wb") as errors:
            process = subprocess.Popen(
                command, cwd=folder.name, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors
            )
        self._given = cast(io.BufferedWriter, process.stdin)
        self._taken = cast(io.BufferedReader, process.stdout)
        weakref.finalize(self, _stop, process, folder)

    def exchange(self, given: Sequence[np.ndarray], taken: Sequence[np.ndarray]) -> None:
        """Give it the bytes of arrays, and fill others with its answer; all are C-contiguous.

        The program reads all of a request before it answers, so that neither side waits for the other.
        Raises EmulationFailed when it stops, as it does on a fault.
        """
        with self._turn:
            try:
                for array in given:
                    self._given.write(array.data)
                self._given.flush()
            except BrokenPipeError:
                raise self._failure() from None
            for array in taken:
                if array.size and self._taken.readinto(array.data) != array.nbytes:
                    raise self._failure()

    def _failure(self) -> EmulationFailed:
        return EmulationFailed(
            "the step stopped in its emulator",
            where=self._where,
            why=self._errors.read_text(errors="replace").strip() or "it said nothing",
        )


def _stop(process: subprocess.Popen[bytes], folder: tempfile.TemporaryDirectory[str]) -> None:
    """End the program, which ends by itself when nothing more comes."""
    for pipe in filter(None, (process.stdin, process.stdout)):
        with contextlib.suppress(BrokenPipeError):
            pipe.close()
    try:
        process.wait(_PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    folder.cleanup()
