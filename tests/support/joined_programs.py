"""Many small programs as one, side by side, because compiling one by one costs seconds each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from millstream.lower import Lowered
from millstream_runtime.arena import ALIGNMENT
from millstream_runtime.program import Buffer, Program, Stage
from millstream_runtime.rewriting import readdressed


def anonymous(lowered: Lowered) -> Lowered:
    """The same program with buffers named by their position: equal ones become the same object to compare."""
    return _renamed(lowered, "")


def join(parts: Sequence[Lowered]) -> Lowered:
    """One program that runs every part; inputs and outputs stand one part after the other."""
    buffers: list[Buffer] = []
    stages: list[Stage] = []
    scratch, weights = 0, b""
    for number, part in enumerate(parts):
        program = _renamed(part, f"{number}.").program
        begins = {"scratch": scratch, "constant": len(weights)}
        buffers += [replace(b, offset=b.offset + begins.get(b.role, 0)) for b in program.buffers]
        stages += program.stages
        scratch += program.scratch_bytes
        weights += part.weights
        if scratch % ALIGNMENT or len(weights) % ALIGNMENT:
            raise ValueError("the memory of a program ends on a whole cache line, so that another can follow")
    return Lowered(Program(tuple(buffers), tuple(stages), scratch, len(weights)), weights)


def _renamed(lowered: Lowered, prefix: str) -> Lowered:
    program = lowered.program
    names = {buffer.name: f"{prefix}{place}" for place, buffer in enumerate(program.buffers)}
    buffers = tuple(replace(buffer, name=names[buffer.name]) for buffer in program.buffers)
    # An origin says nothing about what a stage does.
    stages = tuple(replace(_moved(stage, names), origin="") for stage in program.stages)
    return replace(lowered, program=replace(program, buffers=buffers, stages=stages))


def _moved(stage: Stage, names: Mapping[str, str]) -> Stage:
    """The stage on buffers of other names."""
    return readdressed(stage, lambda access, extents: replace(access, buffer=names[access.buffer]))
