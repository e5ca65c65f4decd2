"""A program for several frames of one stream at once.

Stages that no recurrence runs through are done for all frames together: a leading axis of frames, which makes
a product of matrices out of one of a matrix and a vector. Recurrences go frame after frame (`schedule`).
Everything is computed as the step computes it, so the numbers are the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from millstream_runtime.arena import place_scratch
from millstream_runtime.program import Access, Buffer, Load, Program, Stage, loaded, stored_into
from millstream_runtime.rewriting import Place, readdressed, with_leading_axis
from millstream_runtime.schedule import Group, schedule

#: So many frames go together: enough to make products of matrices, few enough to come often.
FRAMES = 16


def chunked(program: Program, frames: int) -> Program:
    """`program` for `frames` frames that lie one after the other in its inputs and outputs.

    States go in and come out once. The constants stay where they are, so that both programs read one blob of
    weights.
    """
    groups = schedule(program)
    passing = _passing(program, groups, frames)
    places = _Places({buffer.name: buffer for buffer in program.buffers}, passing)
    stages: list[Stage] = []
    for number, group in enumerate(groups):
        stages += (stage for each in passing if each.first == number for stage in each.opening())
        stages += _done(program, group, places, frames)
        stages += (stage for each in passing if each.last == number for stage in each.closing())
    wide = (b if b.role in _FIXED else replace(b, size=b.size * frames) for b in program.buffers)
    added = (buffer for each in passing for buffer in each.buffers())
    return place_scratch(replace(program, buffers=(*wide, *added), stages=tuple(stages)))


_FIXED = ("constant", "state", "next_state")


def _done(program: Program, group: Group, places: _Places, frames: int) -> Iterator[Stage]:
    """The stages of a group, for all frames."""
    stages = [program.stages[number] for number in group.stages]
    if group.is_recurrent:
        yield from (readdressed(stage, places.at(frame)) for frame in range(frames) for stage in stages)
    else:
        yield from (readdressed(with_leading_axis(stage, frames), places.over_frames) for stage in stages)


@dataclass(frozen=True)
class _Passing:
    """A state on its way through the frames: where it lies after each of them.

    A state that one recurrence alone touches lies in places that take turns, as the arena has it: each of its
    values is a buffer of its own. The values of any other lie one after the other, `together`, from the first
    group of stages that touches them to the last.
    """

    state: Buffer
    next: Buffer
    frames: int
    first: int
    last: int
    together: bool

    def after(self, frames: int) -> tuple[str, int]:
        """Buffer and offset of the value after so many frames."""
        if self.together:
            return f"{self.next.name} (history)", frames * self.state.size
        if frames == 0:
            return self.state.name, 0
        return (self.next.name if frames == self.frames else f"{self.next.name} (frame {frames})"), 0

    def buffers(self) -> Iterator[Buffer]:
        """The scratch that the values between need."""
        if self.together:
            size = (self.frames + 1) * self.state.size
            yield Buffer(self.after(0)[0], "scratch", self.state.dtype, size)
        else:
            for frame in range(1, self.frames):
                yield Buffer(self.after(frame)[0], "scratch", self.state.dtype, self.state.size)

    def opening(self) -> Iterator[Stage]:
        """The state, copied to where the other values will lie."""
        if self.together:
            yield self._copy((self.state.name, 0), self.after(0))

    def closing(self) -> Iterator[Stage]:
        """The last value, copied to where it is wanted."""
        if self.together:
            yield self._copy(self.after(self.frames), (self.next.name, 0))

    def _copy(self, source: tuple[str, int], target: tuple[str, int]) -> Stage:
        load = Load(Access(*source, (1,)), self.state.dtype)
        return Stage(f"state {self.state.name}", (self.state.size,), None, load, Access(*target, (1,)))


def _passing(program: Program, groups: Sequence[Group], frames: int) -> list[_Passing]:
    touching = [
        {name for stage in group.stages for name in _touched(program.stages[stage])} for group in groups
    ]
    found = []
    for state, after in zip(program.role("state"), program.role("next_state"), strict=True):
        where = [number for number, names in enumerate(touching) if names & {state.name, after.name}]
        if state.size and where:
            together = len(where) > 1 or not groups[where[0]].is_recurrent
            found.append(_Passing(state, after, frames, where[0], where[-1], together))
    return found


def _touched(stage: Stage) -> set[str]:
    return {*loaded(stage), *stored_into(stage)}


class _Places:
    """Where an address of the step lies in the program of all frames."""

    def __init__(self, buffers: Mapping[str, Buffer], passing: Sequence[_Passing]) -> None:
        self._buffers = buffers
        self._states = {each.state.name: (each, 0) for each in passing}
        self._states |= {each.next.name: (each, 1) for each in passing}

    def at(self, frame: int) -> Place:
        """For one frame."""

        def place(access: Access, extents: tuple[int, ...]) -> Access:
            if access.buffer in self._states:
                state, later = self._states[access.buffer]
                name, offset = state.after(frame + later)
                return replace(access, buffer=name, offset=access.offset + offset)
            return replace(access, offset=access.offset + frame * self._stride(access.buffer))

        return place

    def over_frames(self, access: Access, extents: tuple[int, ...]) -> Access:
        """For all frames, which are the first axis."""
        moved = self.at(0)(access, extents)
        return replace(moved, strides=(self._stride(access.buffer), *moved.strides[1:]))

    def _stride(self, name: str) -> int:
        """Elements from one frame to the next."""
        buffer = self._buffers[name]
        return 0 if buffer.role == "constant" else buffer.size
