"""ONNX nodes and constants, collected while they are written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper


class Nodes:
    """The nodes on one side of a step; what is written on the other side may have the same constants."""

    def __init__(self, constants: dict[str, np.ndarray]) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self._constants = constants

    def add(self, operator: str, inputs: Sequence[str], output: str, **attributes: Any) -> None:
        """One more node."""
        # What computed the state before may have a node named after it.
        name = f"{output} kept"
        self.nodes.append(onnx.helper.make_node(operator, list(inputs), [output], name=name, **attributes))

    def cast(self, given: str, output: str, dtype: str) -> None:
        """One more node, which casts."""
        self.add("Cast", [given], output, to=onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    def constant(self, name: str, array: np.ndarray) -> str:
        """A constant of that name, which is given back."""
        self._constants[name] = array
        return name

    def shape(self, extents: tuple[int, ...]) -> str:
        """The operand of a Reshape that keeps the batch."""
        name = "state.shape." + "x".join(map(str, extents))
        return self.constant(name, np.array([0, *extents], np.int64))
