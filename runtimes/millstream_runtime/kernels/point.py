"""One point of a stage, or a vector of neighbouring points: its addresses and the values of its
expressions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from millstream_runtime.kernels.assembler import Address, Assembler, Index, Value
from millstream_runtime.kernels.float32 import APPROXIMATIONS
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
class Point:
    """Where every axis stands; `width` points from there on along `axis` when it is a vector."""

    write: Assembler
    index: tuple[Index, ...]
    axis: int = -1
    width: int = 1

    def at(self, axis: int, index: Index) -> Point:
        """The point with one axis elsewhere."""
        return replace(self, index=(*self.index[:axis], index, *self.index[axis + 1 :]))

    def along(self, axis: int, width: int) -> Point:
        """A vector from this point on."""
        return replace(self, axis=axis, width=width)

    def value(self, expression: Expression, result: Value | None = None) -> Value:
        """The value of an expression; `result` is what the stage's reduction gave, or keeps."""
        match expression:
            case Load():
                return self.write.load(self.address(expression.access, expression.dtype, result), self.width)
            case Constant():
                return self.write.number(expression.value, expression.dtype, self.width)
            case AxisIndex():
                return self.write.position(self.index[expression.axis])
            case Accumulated() | Stored():
                return result
            case Call():
                values = [self.value(operand, result) for operand in expression.operands]
                dtype = expression.operands[-1].dtype
                if dtype == "float32" and expression.operation in APPROXIMATIONS:
                    return APPROXIMATIONS[expression.operation](self.write, values[0], self.width)
                return self.write.call(expression.operation, dtype, expression.dtype, values, self.width)

    def address(self, access: Access, dtype: str, result: Value | None = None) -> Address:
        """Of an element, or of the elements of a vector; `result` is what the stage's reduction gave."""
        index = Index(access.offset)
        for own, stride in zip(self.index, access.strides, strict=False):
            index = index + own.times(stride)
        lookups = tuple(
            (self.write.held(self._scalar(lookup.index, result), lookup.extent - 1), lookup.stride)
            for lookup in access.lookups
        )
        stride = access.strides[self.axis] if self.width > 1 else 0
        return Address(access.buffer, dtype, index, stride, lookups)

    def _scalar(self, expression: Expression, result: Value | None) -> Value:
        return replace(self, axis=-1, width=1).value(expression, result)


def zeros(count: int) -> tuple[Index, ...]:
    """All axes at their beginning."""
    return (Index(),) * count


def moved(index: Sequence[Index], axis: int, to: Index) -> tuple[Index, ...]:
    """Indices with that of one axis replaced."""
    return (*index[:axis], to, *index[axis + 1 :])
