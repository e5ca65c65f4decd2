"""Run one ONNX operator through the reference, by way of a model of one node."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnx.helper as oh

from millstream.graph import OPSET
from millstream.reference import evaluate


def run(operator: str, *inputs: np.ndarray | None, results: int = 1, **attributes: Any) -> list[np.ndarray]:
    """The first `results` outputs of the operator; an input of None is left out."""
    names = [f"x{i}" if x is not None else "" for i, x in enumerate(inputs)]
    outputs = [f"y{i}" for i in range(results)]
    node = oh.make_node(operator, names, outputs, **attributes)
    given = {name: x for name, x in zip(names, inputs, strict=True) if x is not None}
    return list(evaluate(model([node], given, outputs), given).values())


def model(
    nodes: Sequence[onnx.NodeProto],
    inputs: dict[str, np.ndarray],
    outputs: Sequence[str],
    initializers: dict[str, np.ndarray] | None = None,
    functions: Sequence[onnx.FunctionProto] = (),
) -> onnx.ModelProto:
    """A model whose inputs have the dtypes and shapes of the given arrays; outputs are left untyped."""
    graph = oh.make_graph(
        list(nodes),
        "graph",
        [
            oh.make_tensor_value_info(name, oh.np_dtype_to_tensor_dtype(x.dtype), x.shape)
            for name, x in inputs.items()
        ],
        [onnx.ValueInfoProto(name=name) for name in outputs],
        [onnx.numpy_helper.from_array(x, name) for name, x in (initializers or {}).items()],
    )
    opsets = [oh.make_opsetid("", OPSET), oh.make_opsetid("local", 1)]
    return oh.make_model(graph, functions=list(functions), opset_imports=opsets)
