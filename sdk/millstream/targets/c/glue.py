"""The C around a kernel: `step.c`, which fills its table of addresses, and `weights.S`, with its constants.

The kernel is a function of a table (`millstream_runtime.backends.table`): one stream, the constants, scratch,
then each tensor of the caller, in the order of the structs of `step.h`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from millstream.targets.c.header import step_signature
from millstream.targets.c.initial import initial_tables, print_initial_state
from millstream.targets.c.layout import Layout
from millstream.targets.c.source import size_checks

#: WebAssembly has no C library, and its hosts read no header.
_OPENING = """\
/* The step around its kernel, `kernel.o`. Made by Millstream. */
#include "step.h"

#ifdef __wasm__
#define INFINITY __builtin_inff()
#define NAN __builtin_nanf("")

/* Bytes of input, state, output and scratch. */
const uint32_t {prefix}_bytes[] = {{
    sizeof({prefix}_input), sizeof({prefix}_state), sizeof({prefix}_output), sizeof({prefix}_scratch)}};
#else
#include <math.h>
#endif

"""
_WEIGHTS = """\
/* The constants of the step. Made by Millstream.
 *
 * They stay where read-only data lies; for another place give them a section of your own.
 */
"""
_PART = """\
#ifdef __wasm__
    .section .rodata.{name}, "", @
    .type {name}, @object
#else
    .section .rodata.{name}, "a", %progbits
    .type {name}, %object
#endif
    .globl {name}
    .balign 64
{name}:
{bytes}    .size {name}, . - {name}
"""
_NO_STACK = """\
#ifdef __linux__
    .section .note.GNU-stack, "", %progbits
#endif
"""


def constants_of(layout: Layout, weights: bytes, initial: Sequence[np.ndarray]) -> dict[str, bytes]:
    """`weights.bin`, which holds the constants of the kernel and the initial states that are uneven, and
    `weights.S`, which reads it from beside it and gives each its name."""
    tables = {table.name: table.values.tobytes() for table in initial_tables(layout, initial)}
    parts, text, place = {_weights(layout): weights, **tables}, _WEIGHTS, 0
    for name, data in parts.items():
        # A count of zero would mean the whole file.
        piece = f'    .incbin "weights.bin", {place}, {len(data)}\n' if data else ""
        text += _PART.format(name=name, bytes=piece)
        place += len(data)
    return {"weights.bin": b"".join(parts.values()), "weights.S": (text + _NO_STACK).encode()}


def _weights(layout: Layout) -> str:
    """How the constants of the kernel are called."""
    return f"{layout.prefix}_weights"


def print_glue(layout: Layout, initial: Sequence[np.ndarray], kernel: str, scratch: bool) -> str:
    """The text of `step.c` around a function `kernel`; `scratch` says whether it uses any."""
    lines = [
        *size_checks(layout, scratch),
        "",
        f"extern const unsigned char {_weights(layout)}[];",
        *(f"extern {table.declaration};" for table in initial_tables(layout, initial)),
        f"void {kernel}(const uintptr_t *table);",
        "",
        *print_initial_state(layout, initial),
        "",
        step_signature(layout.prefix),
        *("{", *(f"    {line}" for line in _call(layout, kernel)), "}"),
    ]
    return _OPENING.format(prefix=layout.prefix) + "\n".join(lines) + "\n"


def _call(layout: Layout, kernel: str) -> Iterator[str]:
    """The table of one stream. What has no elements is in no struct, and nothing is read at its address."""
    groups = {"in": layout.input, "state": layout.state, "out": layout.output, "next": layout.state}
    yield "const uintptr_t table[] = {"
    yield f"    1, (uintptr_t){_weights(layout)}, (uintptr_t)scratch,"
    for parameter, members in groups.items():
        for member in members:
            yield f"    (uintptr_t){parameter}->{member.name}," if member.size else "    0,"
    yield "};"
    for parameter, members in groups.items():
        if not any(member.size for member in members):
            yield f"(void){parameter};"
    yield f"{kernel}(table);"
