"""`step.c` and `weights.c`: the step, the initial state, and the constants."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from millstream.targets.c.header import step_signature
from millstream.targets.c.layout import Layout, record
from millstream.targets.c.literal import TYPES, literal
from millstream.targets.c.printer import print_stages
from millstream.targets.c.scalar import Scalars
from millstream_runtime.program import Program

_WIDTH = 100


@dataclass(frozen=True)
class Table:
    """A const array of `weights.c`."""

    name: str
    values: np.ndarray

    @property
    def declaration(self) -> str:
        return f"const {TYPES[self.values.dtype.name]} {self.name}[{self.values.size}]"


def tables(
    program: Program, weights: bytes, layout: Layout, names: Mapping[str, str], initial: Sequence[np.ndarray]
) -> list[Table]:
    """Every constant of the program, then the initial value of each state that is not the same everywhere."""
    found = []
    for buffer in program.role("constant"):
        values = np.frombuffer(weights, buffer.dtype, buffer.size, buffer.offset)
        found.append(Table(f"{layout.prefix}_weights_{names[buffer.name]}", values))
    for member, values in zip(layout.state, initial, strict=True):
        if not _is_uniform(values):
            found.append(Table(_initial_name(layout, member.name), values.ravel()))
    return found


def print_weights(arrays: Sequence[Table]) -> str:
    """The text of `weights.c`."""
    lines = [
        "/* The constants of the step; `step.c` declares them. Made by Millstream. */",
        *("#include <math.h>", "#include <stdbool.h>", "#include <stdint.h>", ""),
    ]
    for table in arrays:
        lines += [f"{table.declaration} = {{", *_rows(table.values), "};", ""]
    return "\n".join(lines)


def _rows(values: np.ndarray) -> Iterator[str]:
    """The numbers, as many on a line as fit."""
    line = "   "
    for value in values.tolist():
        text = f" {literal(value, values.dtype.name)},"
        if len(line) + len(text) > _WIDTH:
            yield line
            line = "   "
        line += text
    yield line


def print_step(
    program: Program,
    layout: Layout,
    names: Mapping[str, str],
    arrays: Sequence[Table],
    initial: Sequence[np.ndarray],
) -> str:
    """The text of `step.c`."""
    scalars, prefix = Scalars(), layout.prefix
    stages = print_stages(program, layout, names, scalars)
    lines = [
        *("/* One step, stage by stage. Made by Millstream. */", '#include "step.h"', ""),
        *("#include <math.h>", "#include <string.h>", ""),
        *_size_checks(prefix, bool(record(layout.state).itemsize), bool(program.role("scratch"))),
        "",
        *(f"extern {table.declaration};" for table in arrays),
        "",
        *scalars.helpers.values(),
        *_initial_state(layout, initial),
        "",
        step_signature(prefix, "*restrict "),
        *("{", *(f"    {line}" if line else "" for line in stages), "}"),
    ]
    return "\n".join(lines) + "\n"


def _size_checks(prefix: str, state: bool, scratch: bool) -> Iterator[str]:
    """The compiler checks what the header promises."""
    for name, there in (("state", state), ("scratch", scratch)):
        if there:
            macro = f"{prefix.upper()}_{name.upper()}_BYTES"
            yield f'_Static_assert(sizeof({prefix}_{name}) == {macro}, "the compiler pads otherwise");'


def _initial_state(layout: Layout, initial: Sequence[np.ndarray]) -> Iterator[str]:
    yield f"void {layout.prefix}_initial_state({layout.prefix}_state *state)"
    yield "{"
    yield "    memset(state, 0, sizeof *state);"
    for member, values in zip(layout.state, initial, strict=True):
        if not _is_uniform(values):
            table = _initial_name(layout, member.name)
            yield f"    memcpy(state->{member.name}, {table}, sizeof state->{member.name});"
        elif any(values.tobytes()):
            first = literal(values.ravel()[0].item(), values.dtype.name)
            yield f"    for (int32_t i = 0; i < {member.size}; ++i) {{"
            yield f"        state->{member.name}[i] = {first};"
            yield "    }"
    yield "}"


def _initial_name(layout: Layout, member: str) -> str:
    return f"{layout.prefix}_initial_{member}"


def _is_uniform(values: np.ndarray) -> bool:
    """True when all elements have the same bytes, or there is none."""
    cells = values.reshape(-1, 1).view(np.uint8)
    return bool((cells == cells[:1]).all())
