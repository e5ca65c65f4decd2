"""A value of a kernel with arithmetic: what functions of whole vectors are written with."""

from __future__ import annotations

from millstream_runtime.kernels.assembler import Assembler, Value


class Number:
    """A value with arithmetic. What is used more than once is `named` first, lest it be written twice."""

    def __init__(self, write: Assembler, value: Value, width: int, dtype: str = "float32") -> None:
        self.write, self.value, self.width, self.dtype = write, value, width, dtype

    def named(self) -> Number:
        return self._made(self.write.bind(self.value, self.dtype, self.width))

    def __add__(self, other: Number | float) -> Number:
        return self._call("add", other)

    def __sub__(self, other: Number | float) -> Number:
        return self._call("subtract", other)

    def __mul__(self, other: Number | float) -> Number:
        return self._call("multiply", other)

    def __truediv__(self, other: Number) -> Number:
        return self._call("divide", other)

    def __rsub__(self, other: float) -> Number:
        return self.like(other) - self

    def __neg__(self) -> Number:
        return self._made(self.write.call("negative", self.dtype, self.dtype, [self.value], self.width))

    def __abs__(self) -> Number:
        return self._made(self.write.call("absolute", self.dtype, self.dtype, [self.value], self.width))

    def like(self, value: float) -> Number:
        """A constant."""
        return self._made(self.write.number(value, self.dtype, self.width))

    def where(self, comparison: str, other: Number | float, then: Number, otherwise: Number) -> Number:
        """`then` where the comparison with `other` holds, else `otherwise`. Conditions have no name: TVM
        cannot analyse a vector of bools that has one."""
        condition = self.write.call(comparison, self.dtype, "bool", [self.value, self._of(other)], self.width)
        return then._made(self._select(condition, then, otherwise))

    def between(self, low: float, high: float) -> Number:
        lowest, highest = (self.write.number(limit, self.dtype, self.width) for limit in (low, high))
        return self._made(self.write.between(self.value, lowest, highest, self.width))

    def rounded(self) -> Number:
        return self._made(self.write.call("round", self.dtype, self.dtype, [self.value], self.width))

    def times_power_of_two(self, exponent: Number) -> Number:
        return self._made(self.write.scaled(self.value, exponent.value, self.width))

    def bits(self) -> Number:
        return self._made(self.write.bits(self.value, self.width), "int32")

    def from_bits(self) -> Number:
        return self._made(self.write.from_bits(self.value, self.width), "float32")

    def shifted(self, left: int) -> Number:
        return self._made(self.write.shifted(self.value, left, self.width))

    def masked(self, operation: str, mask: Number | int) -> Number:
        return self._call(operation, mask)

    def as_float(self) -> Number:
        value = self.write.call("cast", self.dtype, "float32", [self.value], self.width)
        return self._made(value, "float32")

    def _select(self, condition: Value, then: Number, otherwise: Number) -> Value:
        values = [condition, then.value, otherwise.value]
        return self.write.call("select", then.dtype, then.dtype, values, self.width)

    def _call(self, operation: str, other: Number | float) -> Number:
        values = [self.value, self._of(other)]
        return self._made(self.write.call(operation, self.dtype, self.dtype, values, self.width))

    def _of(self, other: Number | float) -> Value:
        if isinstance(other, Number):
            return other.value
        return self.write.number(other, self.dtype, self.width)

    def _made(self, value: Value, dtype: str = "") -> Number:
        return Number(self.write, value, self.width, dtype or self.dtype)
