"""What cannot stream: the operator, where it stands, why, and what would make it causal."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from torch import fx

from millstream.errors import NotCausal

_FRAME = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+)')
_LIBRARIES = ("/torch/nn/", "/torch/_", "/torch/utils/")


@dataclass(frozen=True)
class Refusal:
    """One operator that cannot stream."""

    what: str
    where: str
    why: str
    fix: str

    def __str__(self) -> str:
        return f"{self.what} at {self.where}: {self.why}; {self.fix}"


class Stuck(Exception):
    """Raised by a rule: this node cannot stream."""

    def __init__(self, why: str, fix: str) -> None:
        super().__init__(why)
        self.why, self.fix = why, fix


class Uneven(Exception):
    """Raised by a rule: the lengths that were traced do not divide by a stride of the module."""


def refused(refusals: Sequence[Refusal]) -> NotCausal:
    """One error for all of them."""
    count = len(refusals)
    what = refusals[0].what if count == 1 else f"{count} operators"
    return NotCausal(
        f"{what} cannot stream",
        where=refusals[0].where if count == 1 else "",
        why="".join(f"\n  - {r}" for r in refusals) if count > 1 else refusals[0].why,
        fix=refusals[0].fix if count == 1 else "see each line; or write step(x, state) for those modules",
    )


def where(node: fx.Node) -> str:
    """The module path and the source line of a node, as far as the trace tells."""
    stack = node.meta.get("nn_module_stack") or {}
    paths = [entry[0] for entry in stack.values() if isinstance(entry, tuple)]
    path = paths[-1] if paths else ""
    line = source_line(node)
    return ", ".join(part for part in (path, line) if part) or str(node.name)


def source_line(node: fx.Node) -> str:
    """`file:line` of the innermost line that is not torch's own."""
    found = _FRAME.findall(node.meta.get("stack_trace") or "")
    own = [pair for pair in found if not any(part in pair[0] for part in _LIBRARIES)]
    file, line = own[-1] if own else ("", "")
    return f"{file}:{line}" if file else ""


def operator(node: fx.Node) -> str:
    """The operator's name without its namespace and overload."""
    parts = str(node.target).split(".")
    return parts[1] if len(parts) > 1 else parts[0]
