"""Sums that take in a product without rounding it, in TVMScript.

LLVM fuses by itself, but which product goes into which sum it decides by what stands around them; said here,
by the rule that Numba's code follows too, a step has the same numbers alone, in a batch and in a chunk.
"""

from __future__ import annotations

from millstream.targets.tvm.literal import literal, splat


class Products:
    """The factors of every product that was written, by its text."""

    def __init__(self) -> None:
        self._factors: dict[str, tuple[str, str]] = {}

    def add(self, text: str, x: str, y: str) -> None:
        """`text` is the product of x and y."""
        self._factors[text] = (x, y)

    def fused(self, operation: str, dtype: str, x: str, y: str, width: int) -> str | None:
        """x plus or minus y, where one of them is a product: y before x. None where neither is."""
        minus = operation == "subtract"
        if y in self._factors:
            first, second = self._factors[y]
            return _fused(dtype, width, _negative(first, dtype, width) if minus else first, second, x)
        if x in self._factors:
            return _fused(dtype, width, *self._factors[x], _negative(y, dtype, width) if minus else y)
        return None


def _fused(dtype: str, width: int, x: str, y: str, addend: str) -> str:
    kind = dtype if width == 1 else f"{dtype}x{width}"
    return f"T.call_llvm_pure_intrin('{kind}', 'llvm.fma', {x}, {y}, {addend})"


def _negative(x: str, dtype: str, width: int) -> str:
    return f"({splat(literal(-1, dtype), width)} * {x})"
