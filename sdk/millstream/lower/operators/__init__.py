"""What each ONNX operator is in stages: one explicit table, one family of operators per file."""

from __future__ import annotations

from collections.abc import Callable

from millstream.lower.builder import Builder, Node
from millstream.lower.operators import (
    convolution,
    elementwise,
    linear,
    movement,
    normalization,
    quantization,
    reduction,
)
from millstream.lower.view import View

Translator = Callable[[Builder, Node], View | list[View]]

OPERATORS: dict[str, Translator] = {
    **elementwise.OPERATORS,
    **movement.OPERATORS,
    **linear.OPERATORS,
    **convolution.OPERATORS,
    **reduction.OPERATORS,
    **normalization.OPERATORS,
    **quantization.OPERATORS,
}
