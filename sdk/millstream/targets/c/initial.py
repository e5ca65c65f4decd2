"""The state that a stream starts from, in C: one function, and a table for each state that is uneven."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from millstream.targets.c.layout import Layout
from millstream.targets.c.literal import literal
from millstream.targets.c.table import Table


def initial_tables(layout: Layout, initial: Sequence[np.ndarray]) -> list[Table]:
    """The initial value of each state that is not the same everywhere."""
    return [
        Table(_name(layout, member.name), values.ravel())
        for member, values in zip(layout.state, initial, strict=True)
        if not _is_uniform(values)
    ]


def print_initial_state(layout: Layout, initial: Sequence[np.ndarray]) -> Iterator[str]:
    """`<prefix>_initial_state`, which fills the state element by element."""
    yield f"void {layout.prefix}_initial_state({layout.prefix}_state *state)"
    yield "{"
    members = [pair for pair in zip(layout.state, initial, strict=True) if pair[0].size]
    for member, values in members:
        first = literal(values.ravel()[0].item(), values.dtype.name)
        value = first if _is_uniform(values) else f"{_name(layout, member.name)}[i]"
        yield f"    for (int32_t i = 0; i < {member.size}; ++i) {{"
        yield f"        state->{member.name}[i] = {value};"
        yield "    }"
    if not members:
        yield "    (void)state;"
    yield "}"


def _name(layout: Layout, member: str) -> str:
    return f"{layout.prefix}_initial_{member}"


def _is_uniform(values: np.ndarray) -> bool:
    """True when all elements have the same bytes, or there is none."""
    cells = values.reshape(-1, 1).view(np.uint8)
    return bool((cells == cells[:1]).all())
