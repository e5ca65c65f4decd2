"""A step for several frames of one stream: what all of them do together, and what goes frame by frame.

Frames take the place of streams: inputs, outputs and scratch have a row for each. A state and what the step
makes of it become one array, the state's history, with a row for each frame and one more: the state before a
frame, and behind it in the next row. So an address is the same number of elements further on for every frame,
whatever it is of, and no frame overwrites what another has yet to read.

Which stages need the frame before is found by `millstream_runtime.schedule`, as for CPUs. Unlike there
nothing is written out for each frame: a kernel goes through them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from millstream_runtime.arena import place_scratch
from millstream_runtime.occurrence import accesses
from millstream_runtime.program import Access, Program, Stage, loaded, stored_into
from millstream_runtime.rewriting import readdressed
from millstream_runtime.schedule import schedule


@dataclass(frozen=True)
class Run:
    """Stages that follow each other: every frame by itself, or `in_turn`, since a frame needs what they gave
    for the one before."""

    stages: tuple[Stage, ...]
    in_turn: bool


@dataclass(frozen=True)
class Unrolled:
    """All stages in an order that keeps every dependency over so many frames.

    In the program a next state is its state, one row further on; buffers have the size of one row.
    """

    program: Program
    runs: tuple[Run, ...]
    frames: int


def unroll(program: Program, frames: int) -> Unrolled:
    """The step for so many frames."""
    pairs = zip(program.role("state"), program.role("next_state"), strict=True)
    histories = {after.name: (before.name, before.size) for before, after in pairs}

    def place(access: Access, extents: tuple[int, ...]) -> Access:
        if access.buffer not in histories:
            return access
        name, row = histories[access.buffer]
        return replace(access, buffer=name, offset=access.offset + row)

    runs = tuple(
        replace(run, stages=tuple(readdressed(stage, place) for stage in run.stages))
        for run in _runs(program, {before: after for after, (before, _) in histories.items()})
    )
    buffers = tuple(buffer for buffer in program.buffers if buffer.role != "next_state")
    stages = tuple(stage for run in runs for stage in run.stages)
    return Unrolled(place_scratch(replace(program, buffers=buffers, stages=stages)), runs, frames)


def _runs(program: Program, after: Mapping[str, str]) -> Iterator[Run]:
    """The stages as they are; `after` names for each state what the step makes of it.

    Frames that go by themselves wait for no other: what reads a state begins a run behind what wrote it.
    """
    run: list[Stage] = []
    written: set[str] = set()
    for group in schedule(program):
        stages = [program.stages[number] for number in group.stages]
        read = {after[name] for stage in stages for name in loaded(stage) if name in after}
        if run and (group.is_recurrent or read & written):
            yield Run(tuple(run), in_turn=False)
            run, written = [], set()
        if group.is_recurrent:
            yield Run(tuple(stages), in_turn=True)
        else:
            run += stages
            written |= {name for stage in stages for name in stored_into(stage)}
    if run:
        yield Run(tuple(run), in_turn=False)


def is_apart(stage: Stage, program: Program) -> bool:
    """Whether each point of a stage needs of the frame before at most what it gave there itself.

    So it does where it reads of a state what it writes, one row back: a recurrence of single elements.
    """
    kept = stage.reduction and stage.reduction.kept
    stores = (stage.target, *([kept.target] if kept else []))
    before = {
        access.buffer: replace(access, offset=access.offset - program.buffer(access.buffer).size)
        for access in stores
    }
    loads = (access for access, _ in accesses(stage) if access not in stores)
    return all(access == before.get(access.buffer, access) for access in loads)
