"""A program printed as one C function: the stages in order, each a small loop nest under its origin."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping

from millstream.targets.c.layout import Layout
from millstream.targets.c.literal import TYPES, literal
from millstream.targets.c.names import comment
from millstream.targets.c.scalar import Scalars
from millstream_runtime.program import (
    Access,
    Accumulated,
    AxisIndex,
    Call,
    Constant,
    Expression,
    Kept,
    Load,
    Program,
    Reduction,
    Stage,
    Stored,
    neutral,
    read_back,
)

_WIDTH = 100
_COMBINE = {"sum": "add", "product": "multiply", "max": "maximum", "min": "minimum"}
_PARAMETERS = ("in", "state", "out", "next", "scratch")


def print_stages(program: Program, layout: Layout, names: Mapping[str, str], scalars: Scalars) -> list[str]:
    """The body of the step function; `names` are those of constants and scratch."""
    places = _places(program, layout, names)
    nests = [list(_Stage(stage, places, scalars).lines()) for stage in program.stages]
    code = "\n".join(line for nest in nests for line in nest)
    lines = [f"(void){name};" for name in _PARAMETERS if f"{name}->" not in code]
    for stage, nest in zip(program.stages, nests, strict=True):
        lines += [*([""] if lines else []), comment(stage.origin), *nest]
    return [part for line in lines for part in _wrapped(line)]


def _places(program: Program, layout: Layout, names: Mapping[str, str]) -> dict[str, str]:
    """The text of each buffer's array."""
    places = {}
    for role, parameter, members in (
        ("input", "in", layout.input),
        ("state", "state", layout.state),
        ("output", "out", layout.output),
        ("next_state", "next", layout.state),
    ):
        for buffer, member in zip(program.role(role), members, strict=True):
            places[buffer.name] = f"{parameter}->{member.name}"
    for buffer in program.role("constant"):
        places[buffer.name] = f"{layout.prefix}_weights_{names[buffer.name]}"
    for buffer in program.role("scratch"):
        places[buffer.name] = f"scratch->{names[buffer.name]}.at"
    return places


def _wrapped(line: str) -> list[str]:
    """A long line broken at spaces, which C allows; what follows is indented by two levels more."""
    indent = " " * (len(line) - len(line.lstrip()))
    further = indent + " " * 8
    pieces = textwrap.wrap(
        line, _WIDTH, subsequent_indent=further, break_long_words=False, break_on_hyphens=False
    )
    return pieces or [""]


class _Stage:
    """One stage as lines of C. Axes are called i0, i1, ...; those of the reduction r0, r1, ..."""

    def __init__(self, stage: Stage, places: Mapping[str, str], scalars: Scalars) -> None:
        self.stage = stage
        self.places = places
        self.scalars = scalars
        inner = stage.reduction.extents if stage.reduction else ()
        self.extents = stage.extents + inner
        names = [f"i{axis}" for axis in range(len(stage.extents))] + [
            f"r{axis}" for axis in range(len(inner))
        ]
        # An axis of one point needs no loop.
        self.index = [name if n > 1 else "0" for name, n in zip(names, self.extents, strict=True)]

    def lines(self) -> Iterator[str]:
        """The whole loop nest."""
        place = self._place(self.stage.target)
        body = [*self._reduction(), f"{place} = {_bare(self._text(self.stage.value))};"]
        outer = [axis for axis in range(len(self.stage.extents)) if self.extents[axis] > 1]
        if self.stage.reduction and not outer:
            yield from ("{", *("    " + line for line in body), "}")
        else:
            yield from self._nest(outer, body)

    def _nest(self, axes: list[int], body: list[str]) -> Iterator[str]:
        """Loops over `axes`, the last innermost, around `body`."""
        for depth, axis in enumerate(axes):
            name = self.index[axis]
            yield "    " * depth + f"for (int32_t {name} = 0; {name} < {self.extents[axis]}; ++{name}) {{"
        yield from ("    " * len(axes) + line for line in body)
        yield from ("    " * depth + "}" for depth in reversed(range(len(axes))))

    def _reduction(self) -> Iterator[str]:
        reduction = self.stage.reduction
        if reduction is None:
            return
        dtype = reduction.operand.dtype
        yield f"{TYPES[dtype]} acc = {literal(neutral(reduction.kind, dtype), dtype)};"
        axes = [a for a in range(len(self.stage.extents), len(self.extents)) if self.extents[a] > 1]
        body = [self._combine(reduction)]
        if reduction.kept:
            body[:0] = self._keep(reduction.kept)
        yield from self._nest(axes, body)

    def _keep(self, kept: Kept) -> Iterator[str]:
        """What the reduction keeps, stored; `kept` is what it goes on with where that is another number."""
        place, value = self._place(kept.target), _bare(self._text(kept.exact))
        if not kept.is_rounded:
            yield f"{place} = {value};"
            return
        yield f"const {TYPES[kept.exact.dtype]} kept = {value};"
        yield f"{place} = {self.scalars.call('cast', kept.exact.dtype, kept.value.dtype, ['kept'])};"

    def _combine(self, reduction: Reduction) -> str:
        operand, dtype = self._text(read_back(reduction)), reduction.operand.dtype
        if reduction.kind == "sum" and dtype.startswith("float"):
            return f"acc += {_bare(operand)};"
        combined = self.scalars.call(_COMBINE[reduction.kind], dtype, dtype, ["acc", operand])
        return f"acc = {_bare(combined)};"

    def _text(self, expression: Expression) -> str:
        match expression:
            case Load():
                return self._place(expression.access)
            case Constant():
                text = literal(expression.value, expression.dtype)
                return f"({text})" if text.startswith("-") else text
            case AxisIndex():
                return f"(int64_t){self.index[expression.axis]}"
            case Accumulated():
                return "acc"
            case Stored():  # what was not rounded is read back
                return "kept"
            case Call():
                texts = [self._text(operand) for operand in expression.operands]
                return self.scalars.call(
                    expression.operation, expression.operands[-1].dtype, expression.dtype, texts
                )

    def _place(self, access: Access) -> str:
        """The element at an address."""
        terms = []
        for axis, stride in enumerate(access.strides):
            if stride and self.extents[axis] > 1:
                terms.append(self.index[axis] if stride == 1 else f"{stride} * {self.index[axis]}")
        for lookup in access.lookups:
            held = self.scalars.clamp(_bare(self._text(lookup.index)), lookup.extent - 1)
            terms.append(held if lookup.stride == 1 else f"{lookup.stride} * {held}")
        if access.offset or not terms:
            terms.append(str(access.offset))
        return f"{self.places[access.buffer]}[{' + '.join(terms)}]"


def _bare(text: str) -> str:
    """The text without parentheses that hold the whole of it."""
    if not (text.startswith("(") and text.endswith(")")):
        return text
    depth = 0
    for place, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if depth == 0:
            return text[1:-1] if place == len(text) - 1 else text
    return text
