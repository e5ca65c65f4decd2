"""Where the buffers of a lowered program come from, in words of the model."""

from __future__ import annotations

from collections.abc import Iterator

from millstream_runtime.program import Load, Program, Stage, walk


def origins(program: Program) -> dict[str, str]:
    """For each buffer the module or node that writes it, or first reads it when nothing does."""
    found: dict[str, str] = {}
    for stage in program.stages:
        for name in (stage.target.buffer, *_read(stage)):
            # An origin is a module or node and its operator, then what was fused into it.
            found.setdefault(name, stage.origin.partition(" ")[0])
    return found


def _read(stage: Stage) -> Iterator[str]:
    """The buffers that a stage loads from."""
    for expression in (*([stage.reduction.operand] if stage.reduction else ()), stage.value):
        yield from (part.access.buffer for part in walk(expression) if isinstance(part, Load))
