"""The one table of what the reference defines: ONNX operator type -> function."""

from __future__ import annotations

from millstream.reference import (
    activation,
    convolution,
    elementwise,
    generation,
    indexing,
    linear,
    logic,
    normalization,
    pooling,
    quantization,
    recurrent,
    reduction,
    resize,
    sampling,
    shape,
)
from millstream.reference.precision import Operator

#: Every function takes the node's inputs in order (None for one left out) and its attributes by name.
OPERATORS: dict[str, Operator] = {
    **activation.OPERATORS,
    **convolution.OPERATORS,
    **elementwise.OPERATORS,
    **generation.OPERATORS,
    **indexing.OPERATORS,
    **linear.OPERATORS,
    **logic.OPERATORS,
    **normalization.OPERATORS,
    **pooling.OPERATORS,
    **quantization.OPERATORS,
    **recurrent.OPERATORS,
    **reduction.OPERATORS,
    **resize.OPERATORS,
    **sampling.OPERATORS,
    **shape.OPERATORS,
}
