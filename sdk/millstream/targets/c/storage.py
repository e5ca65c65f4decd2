"""Constants and scratch of a program in C: how each buffer is called, and the bytes that all of them take."""

from __future__ import annotations

from collections.abc import Iterator

from millstream.targets.c.names import identifiers
from millstream_runtime.program import Buffer, Load, Program, Stage, item_size, walk


def storage_names(program: Program) -> dict[str, str]:
    """C names of constants, after the stage that first reads each, and of scratch, after the first writer."""
    origins: dict[str, str] = {}
    for stage in program.stages:
        for name in (stage.target.buffer, *_read(stage)):
            # An origin is a module or node and its operator, then what was fused into it.
            origins.setdefault(name, stage.origin.partition(" ")[0])
    return {
        buffer.name: name
        for role in ("constant", "scratch")
        for buffer, name in _named(program.role(role), origins)
    }


def _named(buffers: tuple[Buffer, ...], origins: dict[str, str]) -> Iterator[tuple[Buffer, str]]:
    names = identifiers(origins.get(buffer.name, buffer.name) for buffer in buffers)
    return zip(buffers, names, strict=True)


def _read(stage: Stage) -> Iterator[str]:
    """The buffers that a stage loads from."""
    for expression in (*([stage.reduction.operand] if stage.reduction else ()), stage.value):
        yield from (part.access.buffer for part in walk(expression) if isinstance(part, Load))


def constant_bytes(program: Program) -> int:
    """Bytes of all constants, without the gaps between them."""
    return sum(b.size * item_size(b.dtype) for b in program.role("constant"))


def scratch_bytes(program: Program) -> int:
    """Size of a union that holds every scratch buffer at its offset; 0 when there is none."""
    buffers = program.role("scratch")
    end = max((b.offset + b.size * item_size(b.dtype) for b in buffers), default=0)
    widest = max((item_size(b.dtype) for b in buffers), default=1)
    return -(-end // widest) * widest
