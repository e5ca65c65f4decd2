"""A program printed as Python for Numba: one function per kind of stage, and `step`, which calls them.

`step` takes a table of addresses, as `millstream_runtime.backends.table` says; a function of a stage takes
the addresses of its operands. Repeated layers are printed and compiled once. Which function is called when,
and on what, are numbers in `SCRIPT`, because the time that Numba takes grows with the text and not with the
data.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence

from millstream_runtime.backends.numba.stage import stage_lines
from millstream_runtime.occurrence import Occurrence, Place, Shape, occurrence
from millstream_runtime.program import Buffer, Program, item_size


def print_program(program: Program, parts: int) -> str:
    """The source of `step(table)` for a checked program; `parts` as in `dots.DotProduct`."""
    buffers = {buffer.name: buffer for buffer in program.buffers}
    stages = [occurrence(stage, buffers) for stage in program.stages]
    numbers = {shape: n for n, shape in enumerate(dict.fromkeys(stage.shape for stage in stages))}
    lines = [line for shape, number in numbers.items() for line in _function(number, shape, parts)]
    lines += _script(program, stages, numbers)
    lines += ["def step(table):", "    for run in range(table[0]):"]
    lines += ["        place = 0", f"        for call in range({len(stages)}):"]
    lines += ["            kind = SCRIPT[place]"]
    for shape, number in numbers.items():
        addresses = (_address(place) for place in range(len(shape.operands)))
        lines.append(f"            {'el' if number else ''}if kind == {number}:")
        lines.append(f"                stage{number}({', '.join(addresses)})")
        lines.append(f"                place += {1 + 3 * len(shape.operands)}")
    return "\n".join(lines) + "\n"


def _function(number: int, shape: Shape, parts: int) -> Iterator[str]:
    """A function of the addresses of the shape's operands."""
    yield "@part"
    yield f"def stage{number}({', '.join(f'at_{operand.name}' for operand in shape.operands)}):"
    yield "    stay_apart()"
    for operand in shape.operands:
        yield f"    {operand.name} = POINTERS_{operand.dtype}(at_{operand.name})"
    constants = frozenset(operand.name for operand in shape.operands if operand.is_constant)
    yield from (f"    {line}" for line in stage_lines(shape.stage, constants, parts))


def _script(program: Program, stages: Sequence[Occurrence], numbers: Mapping[Shape, int]) -> Iterator[str]:
    """For each call the number of its function, and of each operand the word of the table that its address is
    counted from, the bytes from there on, and those from one run to the next."""
    buffers = {buffer.name: buffer for buffer in program.buffers}
    words = {buffer.name: word for word, buffer in enumerate(program.callers, start=3)}
    yield "SCRIPT = np.array(["
    for stage in stages:
        places = (_place(place, buffers[place.buffer], words) for place in stage.places)
        yield f"    {', '.join(map(str, (numbers[stage.shape], *itertools.chain(*places))))},"
    yield "], np.int64)"


def _place(place: Place, buffer: Buffer, words: Mapping[str, int]) -> tuple[int, int, int]:
    width = item_size(buffer.dtype)
    if buffer.name in words:
        return words[buffer.name], place.element * width, buffer.size * width
    return (1 if buffer.role == "constant" else 2), buffer.offset + place.element * width, 0


def _address(operand: int) -> str:
    return f"operand(table, SCRIPT, place + {1 + 3 * operand}, run)"
