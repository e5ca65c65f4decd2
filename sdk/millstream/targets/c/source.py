"""`step.c` and `weights.c`: the step, the initial state, and the constants."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from millstream.targets.c.header import step_signature
from millstream.targets.c.initial import initial_tables, print_initial_state
from millstream.targets.c.layout import Layout, record
from millstream.targets.c.printer import print_stages
from millstream.targets.c.scalar import Scalars
from millstream.targets.c.table import Table
from millstream_runtime.program import Program


def tables(
    program: Program, weights: bytes, layout: Layout, names: Mapping[str, str], initial: Sequence[np.ndarray]
) -> list[Table]:
    """Every constant of the program, then the initial values that need one."""
    found = []
    for buffer in program.role("constant"):
        values = np.frombuffer(weights, buffer.dtype, buffer.size, buffer.offset)
        found.append(Table(f"{layout.prefix}_weights_{names[buffer.name]}", values))
    return found + initial_tables(layout, initial)


def print_weights(arrays: Sequence[Table]) -> str:
    """The text of `weights.c`."""
    lines = [
        "/* The constants of the step; `step.c` declares them. Made by Millstream. */",
        *("#include <math.h>", "#include <stdbool.h>", "#include <stdint.h>", ""),
    ]
    for table in arrays:
        lines += [*table.definition(), ""]
    return "\n".join(lines)


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
        *("#include <math.h>", ""),
        *size_checks(layout, bool(program.role("scratch"))),
        "",
        *(f"extern {table.declaration};" for table in arrays),
        "",
        *scalars.helpers.values(),
        *print_initial_state(layout, initial),
        "",
        step_signature(prefix, "*restrict "),
        *("{", *(f"    {line}" if line else "" for line in stages), "}"),
    ]
    return "\n".join(lines) + "\n"


def size_checks(layout: Layout, scratch: bool) -> Iterator[str]:
    """The compiler checks what the header promises; an empty struct is no size that C knows."""
    for name, there in (("state", bool(record(layout.state).itemsize)), ("scratch", scratch)):
        if there:
            macro = f"{layout.prefix.upper()}_{name.upper()}_BYTES"
            yield f'_Static_assert(sizeof({layout.prefix}_{name}) == {macro}, "the compiler pads otherwise");'
