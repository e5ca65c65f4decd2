"""A blocked program printed as TVMScript: one `PrimFunc` for the whole step, streams in the outer loop.

Parameters: the number of streams, then one flat buffer each for `parameters(program)`. Constants and scratch
are one parameter per dtype, because TVM takes two parameters to be two places in memory. A bool is passed
as uint8. Buffers of the caller are only aligned to their elements: TVM assumes 64 bytes unless told.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from millstream.targets.tvm_point import Names
from millstream.targets.tvm_stage import StagePrinter, stored
from millstream_runtime.program import Buffer, Program, item_size

_CALLER = ("input", "state", "output", "next_state")
_SHARED = ("constant", "scratch")


def parameters(program: Program) -> tuple[Buffer, ...]:
    """The buffers that the printed function takes, in order; constants and scratch merged by dtype."""
    caller = [buffer for role in _CALLER for buffer in program.role(role)]
    return (*_merged(program, "constant"), *_merged(program, "scratch"), *caller)


def _merged(program: Program, role: str) -> Iterator[Buffer]:
    ends: dict[str, int] = {}
    for buffer in program.role(role):
        end = buffer.offset // item_size(buffer.dtype) + buffer.size
        ends[buffer.dtype] = max(end, ends.get(buffer.dtype, 0))
    for dtype, size in sorted(ends.items()):
        yield Buffer(f"{role}.{dtype}", role, dtype, size)


def print_program(program: Program, lanes: int) -> str:
    """The source of `step`; `lanes` float32 fill one vector register."""
    constants = frozenset(buffer.name for buffer in program.role("constant"))
    names = Names(_places(program), constants, itertools.count().__next__)
    taken = ["streams: T.int64", *(_parameter(n, b) for n, b in enumerate(parameters(program)))]
    lines = ["@T.prim_func(s_tir=True)", f"def step({', '.join(taken)}):"]
    lines.append('    T.func_attr({"global_symbol": "step", "tir.noalias": True})')
    lines.append("    for stream in range(streams):")
    for stage in program.stages:
        lines += [f"        {line}" for line in StagePrinter(stage, names, lanes).lines()]
    return "\n".join(lines) + "\n"


def _parameter(number: int, buffer: Buffer) -> str:
    shared = buffer.role in _SHARED
    shape = str(buffer.size) if shared else f"streams * {buffer.size}"
    align = 64 if shared else item_size(buffer.dtype)
    return f'p{number}: T.Buffer(({shape},), "{stored(buffer.dtype)}", align={align})'


def _places(program: Program) -> dict[str, tuple[str, str]]:
    """For each buffer the parameter that holds it, and the text of its first element's index there."""
    numbers = {buffer.name: number for number, buffer in enumerate(parameters(program))}
    places = {}
    for buffer in program.buffers:
        if buffer.role in _SHARED:
            number = numbers[f"{buffer.role}.{buffer.dtype}"]
            places[buffer.name] = (f"p{number}", str(buffer.offset // item_size(buffer.dtype)))
        else:
            places[buffer.name] = (f"p{numbers[buffer.name]}", f"stream * {buffer.size}")
    return places
