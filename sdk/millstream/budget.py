"""What a step takes of a device's memory, and the refusal of one that takes too much."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from millstream.errors import BudgetExceeded, UsageError
from millstream.origins import origins
from millstream_runtime.program import Program, buffer_bytes
from millstream_runtime.spec import Memory

_UNITS = {"K": 1024, "M": 1024**2}
_NAMED = 3


@dataclass(frozen=True)
class Budget:
    """Bytes that a device has for a step; None is no limit."""

    flash: int | None = None
    ram: int | None = None


def flash(memory: Memory, code: int) -> int:
    """Bytes of constants, and of code where it is compiled: that of sources is their compiler's affair."""
    return memory.weights + code


def ram(memory: Memory) -> int:
    """Bytes that one stream writes: scratch, and the state twice: a step reads one and writes the other."""
    return 2 * memory.state + memory.scratch


def check(budget: Budget, target: str, memory: Memory, code: int, program: Callable[[], Program]) -> None:
    """Raise BudgetExceeded when `memory` and `code` bytes do not fit; `program` is asked for the largest
    buffers then."""
    over, needed = [], flash(memory, code)
    if budget.flash is not None and needed > budget.flash:
        with_code = f" with {code:,} B of code" if code else ""
        largest = _largest(program(), "constant")
        over.append(f"flash {needed:,} B{with_code} of {budget.flash:,} B, {largest}")
    if budget.ram is not None and ram(memory) > budget.ram:
        over.append(f"RAM {ram(memory):,} B of {budget.ram:,} B, {_largest(program(), 'state', 'scratch')}")
    if over:
        raise BudgetExceeded(
            "the step does not fit the device",
            where=f"target {target}",
            why="; ".join(over),
            fix="make the model smaller where it is largest, or raise the budget; nothing was written",
        )


def _largest(program: Program, *roles: str) -> str:
    """The largest buffers of these roles, called after the states or the modules that they belong to."""
    buffers = sorted(_sized(program, roles), reverse=True)[:_NAMED]
    return "largest: " + ", ".join(f"{name} {size:,} B" for size, name in buffers)


def _sized(program: Program, roles: tuple[str, ...]) -> Iterator[tuple[int, str]]:
    known = origins(program)
    for role in roles:
        for buffer in program.role(role):
            size = buffer_bytes(buffer)
            if role == "state":
                yield 2 * size, f"state {buffer.name}, twice,"
            else:
                yield size, known.get(buffer.name, buffer.name)


def read_size(text: str) -> int:
    """Bytes of a text such as 131072, 128K or 2M. Raises UsageError."""
    digits, unit = (text[:-1], text[-1:]) if text[-1:] in _UNITS else (text, "")
    if not (digits.isascii() and digits.isdigit()):
        raise UsageError(f"{text!r} is no size", fix="give bytes, or a number with K or M: 128K is 131072")
    return int(digits) * _UNITS.get(unit, 1)
