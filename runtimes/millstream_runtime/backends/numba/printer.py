"""A program printed as Python for Numba: one function per kind of stage, and `step`, which calls them.

`step` takes a table of addresses, as `millstream_runtime.backends.table` says; a function of a stage takes
the addresses of its operands. Repeated layers are printed and compiled once.
"""

from __future__ import annotations

from collections.abc import Iterator

from millstream_runtime.backends.numba.stage import stage_lines
from millstream_runtime.occurrence import Place, Shape, occurrence
from millstream_runtime.program import CALLER_ROLES, Buffer, Program, item_size


def print_program(program: Program, parts: int) -> str:
    """The source of `step(table)` for a checked program; `parts` as in `dots.DotProduct`."""
    buffers = {buffer.name: buffer for buffer in program.buffers}
    stages = [occurrence(stage, buffers) for stage in program.stages]
    names = {shape: f"stage{n}" for n, shape in enumerate(dict.fromkeys(stage.shape for stage in stages))}
    lines = [line for shape, name in names.items() for line in _function(name, shape, parts)]
    lines += ["def step(table):", "    for run in range(table[0]):", *([] if stages else ["        pass"])]
    for stage in stages:
        addresses = ", ".join(_address(place, buffers[place.buffer], program) for place in stage.places)
        lines.append(f"        {names[stage.shape]}({addresses})")
    return "\n".join(lines) + "\n"


def _function(name: str, shape: Shape, parts: int) -> Iterator[str]:
    """A function of the addresses of the shape's operands."""
    yield "@part"
    yield f"def {name}({', '.join(f'at_{operand.name}' for operand in shape.operands)}):"
    for operand in shape.operands:
        yield f"    {operand.name} = POINTERS_{operand.dtype}(at_{operand.name})"
    constants = frozenset(operand.name for operand in shape.operands if operand.is_constant)
    yield from (f"    {line}" for line in stage_lines(shape.stage, constants, parts))


def _address(place: Place, buffer: Buffer, program: Program) -> str:
    """The address of an element, in this run's part of what the caller owns."""
    width = item_size(buffer.dtype)
    if buffer.role in CALLER_ROLES:
        word = 3 + [caller.name for caller in program.callers].index(buffer.name)
        return f"table[{word}] + run * {buffer.size * width} + {place.element * width}"
    return f"table[{1 if buffer.role == 'constant' else 2}] + {buffer.offset + place.element * width}"
