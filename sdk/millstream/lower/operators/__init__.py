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

#: Operators that no static program can have, and what would help.
DYNAMIC: dict[str, str] = dict.fromkeys(
    ("Compress", "NonMaxSuppression", "NonZero", "Unique"), "use a mask of fixed shape instead, such as Where"
)
