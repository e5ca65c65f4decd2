"""One point of a stage as TVMScript, or a vector of neighbouring points: its expressions and addresses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from millstream.targets.tvm.formulas import Formulas
from millstream.targets.tvm.literal import ramp, splat
from millstream_runtime.program import (
    Access,
    Accumulated,
    AxisIndex,
    Call,
    Constant,
    Expression,
    Load,
    Stored,
)


@dataclass(frozen=True)
class Names:
    """What the printed text may name: for each buffer the parameter that holds it and the text of its first
    element's index there, which of them are constants, and a counter for new names."""

    places: Mapping[str, tuple[str, str]]
    constants: frozenset[str]
    count: Callable[[], int]


class Point:
    """Where every axis stands, as texts; `width` points along `axis` from there on when it is a vector."""

    def __init__(self, names: Names, index: Sequence[str], axis: int = -1, width: int = 1) -> None:
        self.names = names
        self.index = index
        self.axis = axis
        self.width = width
        self.formulas = Formulas(names.count, width)

    def text(self, expression: Expression, total: str = "") -> str:
        """The value of an expression; `total` stands for the result of the stage's reduction.

        The lines it needs before it are in `formulas.lines`.
        """
        match expression:
            case Load():
                place = self.place(expression.access, total)
                return f"({place} != T.uint8(0))" if expression.dtype == "bool" else place
            case Constant():
                return self.formulas.number(expression.value, expression.dtype)
            case AxisIndex():
                return f"T.Cast('int64', {self.index[expression.axis]})"
            case Accumulated() | Stored():  # what is stored is read back
                return total
            case Call():
                texts = [self.text(operand, total) for operand in expression.operands]
                dtype = expression.operands[-1].dtype
                return self.formulas.call(expression.operation, dtype, expression.dtype, texts)

    def place(self, access: Access, total: str = "") -> str:
        """The element at an address, or the elements."""
        name, index = self._address(access, total)
        stride = access.strides[self.axis] if self.width > 1 else 0
        if stride:
            return f"{name}[{ramp(index, self.width, stride)}]"
        return splat(f"{name}[{index}]", self.width)

    def run(self, access: Access, count: int) -> str:
        """`count` neighbouring elements from an address on."""
        name, index = self._address(access, "")
        return f"{name}[{ramp(index, count)}]"

    def element(self, access: Access, further: int) -> str:
        """The element that lies `further` elements behind the first of an address."""
        name, index = self._address(access, "")
        return f"{name}[{index} + {further}]"

    def _address(self, access: Access, total: str) -> tuple[str, str]:
        """The parameter and the text of the index into it."""
        name, base = self.names.places[access.buffer]
        terms = [base] if base != "0" else []
        terms += [str(access.offset)] if access.offset else []
        for index, stride in zip(self.index, access.strides, strict=False):
            if stride and index != "0":
                terms.append(index if stride == 1 else f"{index} * {stride}")
        for lookup in access.lookups:
            index = self.formulas.bind(self.text(lookup.index, total))
            held = f"T.max(T.int64(0), T.min({index}, T.int64({lookup.extent - 1})))"
            terms.append(f"{held} * {lookup.stride}")
        return name, " + ".join(terms) or "0"
