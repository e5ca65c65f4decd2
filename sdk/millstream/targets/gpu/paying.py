"""Whether frames of one stream are better done together than step by step.

An estimate in one measure, the bytes of weights that one block reads in the same time. It counts on nothing
that a block reads faster where all of a device helps, and was not timed on a card.
"""

from __future__ import annotations

from math import prod

from millstream.targets.gpu.prefill import Unrolled
from millstream_runtime.occurrence import accesses
from millstream_runtime.program import Program, Stage, item_size

#: What one block reads while a recorded launch begins and ends, some 5 us on an H100: there a step of 1.9 MB
#: in one block takes 36 us.
_OF_A_LAUNCH = 1 << 18


def moved(stage: Stage, program: Program, role: str) -> int:
    """Bytes of buffers of a role that a stage reads and writes, each once; of a table the row that is looked
    up."""
    buffers = {buffer.name: buffer for buffer in program.role(role)}
    reads = {(access, tuple(extents)) for access, extents in accesses(stage) if access.buffer in buffers}
    return sum(
        item_size(buffers[access.buffer].dtype)
        * prod(extent for extent, stride in zip(extents, access.strides, strict=True) if stride)
        for access, extents in reads
    )


def weights_read(stage: Stage, program: Program) -> int:
    """Bytes of weights that a stage needs."""
    return moved(stage, program, "constant")


def pays(unrolled: Unrolled, launches: int, step: Program, step_launches: int) -> bool:
    """Whether the frames in so many launches take less than as many steps, each in `step_launches`.

    A step in one launch reads all its weights in one block. Together, a block goes through each recurrence
    and reads its weights for every frame; all others are read once.
    """
    frames, program = unrolled.frames, unrolled.program
    in_one_block = sum(weights_read(stage, step) for stage in step.stages) if step_launches == 1 else 0
    together = sum(
        weights_read(stage, program) * (frames if run.in_turn else 1)
        for run in unrolled.runs
        for stage in run.stages
    )
    return launches * _OF_A_LAUNCH + together < frames * (step_launches * _OF_A_LAUNCH + in_one_block)
