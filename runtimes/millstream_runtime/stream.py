"""One stream: frame after frame through the step, in constant memory."""

from __future__ import annotations

from types import TracebackType
from typing import Self

import numpy as np

from millstream_runtime import snapshot
from millstream_runtime.core import Core
from millstream_runtime.errors import BatchFixed, StreamClosed, WrongShape
from millstream_runtime.framer import Framer
from millstream_runtime.intake import Intake
from millstream_runtime.nonfinite import Policy
from millstream_runtime.registers import Chunk, Registers
from millstream_runtime.snapshot import Snapshot

#: One array for a model with one output, else a tuple in the manifest's order.
Result = np.ndarray | tuple[np.ndarray, ...]


class Stream:
    """Made by `Model.stream`. Not for two threads at once; different streams may run in different threads.

    With a look-ahead of L frames the output of a frame comes L frames later: the first L calls of `step`
    return None, and `flush` returns the last outputs at the end.
    """

    __slots__ = (
        "_closed",
        "_core",
        "_drained",
        "_framer",
        "_frames",
        "_intakes",
        "_look_ahead",
        "_nonfinite",
        "_over",
        "_registers",
        "_result",
        "_valid",
    )

    def __init__(self, core: Core, nonfinite: Policy) -> None:
        spec = core.spec
        if spec.batch not in (None, 1):
            raise BatchFixed(
                f"the model takes batches of {spec.batch} and a stream is a batch of 1",
                fix=f"use model.streams({spec.batch}), or export with a free batch",
            )
        self._core = core
        self._nonfinite = nonfinite
        self._look_ahead = spec.look_ahead
        self._registers = Registers(core, 1)
        buffers = dict(zip(spec.graph_inputs, self._registers.inputs, strict=True))
        self._intakes = tuple(Intake(t.name, buffers[t].reshape(t.shape), nonfinite) for t in spec.inputs)
        self._valid = self._registers.inputs[len(spec.inputs) :]
        self._result = _view(core, self._registers)
        frame = spec.inputs[0]
        self._framer = Framer(spec.framing, frame.shape[1:], frame.dtype) if spec.framing else None
        self._closed = False
        self._count(frames=0, drained=0, over=False)

    @property
    def frames(self) -> int:
        """How many frames the stream has taken since it began or was reset."""
        return self._frames

    @property
    def remainder(self) -> int:
        """How many samples wait for their frame to be complete; 0 without framing."""
        return len(self._framer.remainder) if self._framer else 0

    @property
    def closed(self) -> bool:
        return self._closed

    def step(self, *frames: np.ndarray) -> Result | None:
        """Take one frame (one argument per input, shape and dtype of the manifest), return one output.

        THE RESULT IS THE STREAM'S OWN BUFFER, read-only, and holds until the next step: copy what you
        keep. None while the look-ahead warms up.

        Raises WrongShape, WrongDtype, StreamClosed, and what the policy raises (NonFiniteInput); the
        state is then untouched.
        """
        self._check(frames)
        for intake, frame in zip(self._intakes, frames):  # noqa: B905  counted above, and `strict` takes time
            intake.take(frame)
        return self._advance()

    def push(self, *samples: np.ndarray) -> list[Result]:
        """Take a chunk of any length, return copies of the outputs that it completes.

        With framing: samples (n, *shape of a sample), cut into frames; what is left waits in the stream.
        Without: frames (n, *shape of a frame), one argument per input. The whole chunk is checked before
        the first step, so a refused chunk leaves the stream untouched. Raises as `step` does.
        """
        self._check(samples)
        frames = self._cut(samples)
        count, done, results = len(frames[0]), 0, []
        chunk = self._registers.chunk() if count > 1 else None
        if chunk:
            while count - done >= chunk.frames:
                results += self._advance_by(chunk, [each[done : done + chunk.frames] for each in frames])
                done += chunk.frames
        for number in range(done, count):
            for intake, each in zip(self._intakes, frames, strict=True):
                intake.buffer[...] = each[number]
            result = self._advance()
            if result is not None:
                results.append(_copy(result))
        return results

    def flush(self) -> list[Result]:
        """Declare the end; return copies of the outputs that the look-ahead still holds.

        Afterwards as many outputs have come as frames were taken. An unfinished frame is dropped, and the
        stream takes no more frames until `reset`. Raises StreamClosed.
        """
        self._require_open()
        for intake in self._intakes:
            intake.buffer[...] = 0
        results = []
        for drained in range(self._drained, self._look_ahead):
            self._count(self._frames, drained + 1, over=True)
            self._registers.tick()
            if self._frames + self._drained > self._look_ahead:
                results.append(_copy(self._result))
        self._count(self._frames, self._look_ahead, over=True)
        return results

    def reset(self) -> None:
        """Begin again: initial states, no frames, no remainder. Raises StreamClosed."""
        self._require_open()
        self._registers.reset(np.ones(1, bool))
        if self._framer:
            self._framer.reset()
        self._count(frames=0, drained=0, over=False)

    def save(self) -> bytes:
        """The whole state of the stream as bytes, for `load` on any backend. Raises StreamClosed."""
        self._require_open()
        remainder = self._framer.remainder if self._framer else None
        states = self._registers.save(0)
        taken = Snapshot(states, self._frames, self._drained, self._over, remainder)
        return snapshot.dump(taken, self._core.spec, self._core.identity)

    def load(self, blob: bytes) -> None:
        """Continue where the saved stream stood.

        Raises SnapshotInvalid, SnapshotMismatch, StreamClosed; the stream is then untouched.
        """
        self._require_open()
        taken = snapshot.load(blob, self._core.spec, self._core.identity)
        self._registers.load(0, taken.states)
        if self._framer and taken.remainder is not None:
            self._framer.remainder = taken.remainder.copy()
        self._count(taken.frames, taken.drained, taken.ended)

    def fork(self) -> Stream:
        """A second stream that goes on from the same state. Raises StreamClosed."""
        twin = Stream(self._core, self._nonfinite)
        twin.load(self.save())
        return twin

    def close(self) -> None:
        """Give the buffers back; any later call but `close` raises StreamClosed."""
        if not self._closed:
            self._closed = self._over = True
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

    def _check(self, given: tuple[np.ndarray, ...]) -> None:
        if self._over:
            self._require_open()
            raise StreamClosed("the stream was flushed to its end", fix="call reset() to begin a new one")
        if len(given) != len(self._intakes):
            raise WrongShape(f"{len(given)} arrays for {len(self._intakes)} inputs", fix="give one per input")

    def _require_open(self) -> None:
        if self._closed:
            raise StreamClosed("the stream is closed", fix="make a new one with model.stream()")

    def _advance(self) -> Result | None:
        """One step on the frame that lies in the intakes."""
        self._registers.tick()
        self._frames += 1
        return self._result if self._frames > self._look_ahead else None

    def _advance_by(self, chunk: Chunk, frames: list[np.ndarray]) -> list[Result]:
        """As many steps as the chunk has frames; the frames of each input, (frames, ...)."""
        for buffer, each in zip(chunk.inputs, frames, strict=False):
            buffer[...] = each
        for flag in chunk.inputs[len(frames) :]:
            flag[...] = True
        self._registers.tick_chunk(chunk)
        before, self._frames = self._frames, self._frames + chunk.frames
        wanted = range(max(self._look_ahead - before, 0), chunk.frames)
        outputs = chunk.outputs
        if len(outputs) == 1:
            return [outputs[0][number].copy() for number in wanted]
        return [tuple(output[number].copy() for output in outputs) for number in wanted]

    def _cut(self, samples: tuple[np.ndarray, ...]) -> list[np.ndarray]:
        """The frames of a chunk for each input, (n, *shape of a frame); all checked."""
        if self._framer:
            shape = self._framer.remainder.shape[1:]
            return [self._framer.cut(self._intakes[0].chunk(samples[0], shape))]
        chunks = [
            intake.chunk(s, intake.buffer.shape) for intake, s in zip(self._intakes, samples, strict=True)
        ]
        if len({len(chunk) for chunk in chunks}) > 1:
            raise WrongShape(f"chunks of {[len(c) for c in chunks]} frames", fix="give as many of each")
        return chunks

    def _count(self, frames: int, drained: int, over: bool) -> None:
        """Set the counters, and the `valid` input that follows from them."""
        self._frames, self._drained, self._over = frames, drained, over
        for flag in self._valid:
            flag[...] = not over


def _view(core: Core, registers: Registers) -> Result:
    """The outputs without their batch dimension, read-only."""
    views = tuple(
        array.reshape(t.shape) for array, t in zip(registers.outputs, core.spec.outputs, strict=True)
    )
    for view in views:
        view.flags.writeable = False
    return views[0] if len(views) == 1 else views


def _copy(result: Result) -> Result:
    return tuple(a.copy() for a in result) if isinstance(result, tuple) else result.copy()
