"""Many streams of one model stepped as one batch, each row with a life of its own."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from millstream_runtime import snapshot
from millstream_runtime.backends import Resident
from millstream_runtime.core import Core
from millstream_runtime.errors import BatchFixed, StreamClosed, WrongDtype, WrongShape
from millstream_runtime.intake import Intake
from millstream_runtime.nonfinite import Policy
from millstream_runtime.registers import Registers
from millstream_runtime.snapshot import Snapshot
from millstream_runtime.stream import Result

if TYPE_CHECKING:
    from millstream_runtime.backends.gpu.registers import DeviceRegisters


class Pool:
    """`size` streams, made by `Model.streams`. Not for two threads at once.

    A row that is not active in a step keeps its state bit for bit. A pool takes whole frames; its
    snapshots and those of `Stream` are the same.
    """

    __slots__ = (
        "_closed",
        "_core",
        "_drained",
        "_ended",
        "_frames",
        "_intakes",
        "_ready",
        "_registers",
        "_result",
        "_valid",
        "size",
    )

    def __init__(self, core: Core, size: int, nonfinite: Policy) -> None:
        spec = core.spec
        if size < 1:
            raise WrongShape(f"a pool of {size} streams", fix="ask for at least one")
        if spec.batch not in (None, size):
            raise BatchFixed(
                f"the model takes batches of {spec.batch}, not {size}",
                fix=f"use model.streams({spec.batch}), or export with a free batch",
            )
        self.size = size
        self._core = core
        self._registers = _registers_of(core, size)
        buffers = dict(zip(spec.graph_inputs, self._registers.inputs, strict=True))
        self._intakes = tuple(Intake(t.name, buffers[t], nonfinite) for t in spec.inputs)
        self._valid = self._registers.inputs[len(spec.inputs) :]
        self._result = _view(self._registers)
        self._frames = np.zeros(size, np.int64)
        self._drained = np.zeros(size, np.int64)
        self._ended = np.zeros(size, bool)
        self._ready = np.zeros(size, bool)
        self._closed = False

    @property
    def ready(self) -> np.ndarray:
        """(size,) bool: the rows whose last output belongs to a frame. A copy."""
        return self._ready.copy()

    @property
    def frames(self) -> np.ndarray:
        """(size,) int64: how many frames each row has taken. A copy."""
        return self._frames.copy()

    @property
    def closed(self) -> bool:
        return self._closed

    def step(self, *frames: Any, active: np.ndarray | None = None) -> Any:
        """Take a frame for each active row: (size, *shape of a frame) per input; all rows by default.

        On a GPU the frames may be arrays of another library on that device (DLPack: PyTorch, CuPy, JAX);
        then so is the result, `DeviceArray`s, and nothing is copied to the host.

        Returns (size, *shape) per output. THE RESULT IS THE POOL'S OWN BUFFER, read-only, and holds until
        the next step. Rows that are not `ready` are zero. What stands in the frames of rows that are not
        active is not looked at.

        Raises WrongShape, WrongDtype, StreamClosed, and what the policy raises; no state is then touched.
        """
        rows = self._rows(active)
        if (rows & self._ended).any():
            ended = np.flatnonzero(rows & self._ended).tolist()
            raise StreamClosed(f"rows {ended} were drained to their end", fix="reset them, or leave them out")
        if len(frames) != len(self._intakes):
            raise WrongShape(f"{len(frames)} arrays for {len(self._intakes)} inputs")
        device = None
        for number, (intake, frame) in enumerate(zip(self._intakes, frames, strict=True)):
            if not isinstance(self._registers, Registers) and self._registers.takes(frame):
                device = self._registers
                device.put(number, frame, intake.admit_elsewhere)
                continue
            intake.admit(frame)
            intake.buffer[~rows] = 0
            intake.sift()
        self._tick(rows, valid=True)
        self._frames += rows
        return self._finish(rows, device)

    def drain(self, active: np.ndarray | None = None) -> Result:
        """One tick past the end for each active row; call it `look_ahead` times for all last outputs.

        The rows take no more frames until `reset`. Rows that hold no more outputs stay as they are.
        Raises WrongShape, WrongDtype, StreamClosed.
        """
        asked = self._rows(active)
        rows = asked & (self._drained < self._core.spec.look_ahead)
        for intake in self._intakes:
            intake.buffer[...] = 0
        self._tick(rows, valid=False)
        self._ended |= asked
        self._drained += rows
        return self._finish(rows)

    def reset(self, rows: np.ndarray | None = None) -> None:
        """Begin the given rows again (a boolean mask), or all.

        Raises WrongShape, WrongDtype, StreamClosed.
        """
        chosen = self._rows(rows)
        self._registers.reset(chosen)
        for counter in (self._frames, self._drained, self._ended, self._ready):
            counter[chosen] = 0

    def save(self, row: int) -> bytes:
        """The state of one row as bytes, for `load` here or in a Stream. Raises IndexError, StreamClosed."""
        self._require_open()
        row = range(self.size)[row]
        taken = Snapshot(
            self._registers.save(row),
            int(self._frames[row]),
            int(self._drained[row]),
            bool(self._ended[row]),
        )
        return snapshot.dump(taken, self._core.spec, self._core.identity)

    def load(self, row: int, blob: bytes) -> None:
        """Let one row continue where the saved stream stood.

        Raises SnapshotInvalid, SnapshotMismatch, IndexError, StreamClosed; the row is then untouched.
        """
        self._require_open()
        row = range(self.size)[row]
        taken = snapshot.load(blob, self._core.spec, self._core.identity)
        if taken.remainder is not None and len(taken.remainder):
            raise snapshot.unfinished_frame()
        self._registers.load(row, taken.states)
        self._frames[row], self._drained[row] = taken.frames, taken.drained
        self._ended[row], self._ready[row] = taken.ended, False

    def close(self) -> None:
        """Give the buffers back; any later call but `close` raises StreamClosed."""
        if not self._closed:
            self._closed = True
            del self._registers, self._intakes, self._valid, self._result

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _require_open(self) -> None:
        if self._closed:
            raise StreamClosed("the pool is closed", fix="make a new one with model.streams(n)")

    def _rows(self, mask: np.ndarray | None) -> np.ndarray:
        """The mask, checked; all rows when there is none."""
        self._require_open()
        if mask is None:
            return np.ones(self.size, bool)
        if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_:
            raise WrongDtype("a mask is a NumPy array of bool", fix="np.asarray(mask, bool)")
        if mask.shape != (self.size,):
            raise WrongShape(f"a mask of shape {mask.shape}", why=f"the pool has {self.size} rows")
        return mask

    def _tick(self, rows: np.ndarray, valid: bool) -> None:
        """Step the batch, then give the other rows back the state that they had."""
        for flag in self._valid:
            flag[...] = valid
        registers = self._registers
        registers.tick()
        if not rows.all():
            registers.keep(~rows)

    def _finish(self, rows: np.ndarray, device: DeviceRegisters | None = None) -> Any:
        """Mark the rows whose output belongs to a frame and blank the others."""
        self._ready = rows & (self._frames + self._drained > self._core.spec.look_ahead)
        if device:
            return device.results(~self._ready)
        self._registers.fetch()
        for output in self._registers.outputs:
            output[~self._ready] = 0
        return self._result


def _registers_of(core: Core, size: int) -> Registers | DeviceRegisters:
    """Where the step runs. What only steps on devices need is loaded with the first of them."""
    if not isinstance(core.step, Resident):
        return Registers(core, size)
    from millstream_runtime.backends.gpu.registers import DeviceRegisters

    return DeviceRegisters(core, core.step, size)


def _view(registers: Registers | DeviceRegisters) -> Result:
    """The outputs, read-only."""
    views = tuple(output.view() for output in registers.outputs)
    for view in views:
        view.flags.writeable = False
    return views[0] if len(views) == 1 else views
