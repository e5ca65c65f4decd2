"""What each ONNX operator is in stages: one explicit table, one family of operators per file."""

from __future__ import annotations

from collections.abc import Callable

from millstream.lower.builder import Builder, Node
from millstream.lower.operators import (
    activation,
    bits,
    convolution,
    elementwise,
    generation,
    indexing,
    integer,
    linear,
    movement,
    normalization,
    ordering,
    pooling,
    quantization,
    recurrent,
    reduction,
    scatter,
)
from millstream.lower.view import View

Translator = Callable[[Builder, Node], View | list[View]]

OPERATORS: dict[str, Translator] = {
    **activation.OPERATORS,
    **bits.OPERATORS,
    **convolution.OPERATORS,
    **elementwise.OPERATORS,
    **generation.OPERATORS,
    **indexing.OPERATORS,
    **integer.OPERATORS,
    **linear.OPERATORS,
    **movement.OPERATORS,
    **normalization.OPERATORS,
    **ordering.OPERATORS,
    **pooling.OPERATORS,
    **quantization.OPERATORS,
    **recurrent.OPERATORS,
    **reduction.OPERATORS,
    **scatter.OPERATORS,
}

#: Operators whose result is always known when a graph is lowered, because the shapes are: they are constants.
FOLDED = ("Constant", "Shape", "Size")

_DYNAMIC = ("the shape of its result depends on data", "use a mask of fixed shape instead, such as Where")

#: Operators that a model may well have and that are not lowered: why, and what would help.
REFUSED: dict[str, tuple[str, str]] = {
    "Compress": _DYNAMIC,
    "NonZero": _DYNAMIC,
    "Unique": _DYNAMIC,
    "DFT": ("the operator is not lowered", "write the transform as a product with a constant matrix"),
    "Resize": ("the operator is not lowered", "write it with repeat_interleave, or with strided slices"),
}
