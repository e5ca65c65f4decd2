"""Float16 as the reference means it: computed wider, and rounded once where the graph has a float16.

TVM would sum a float16 product in float16, which loses a digit with every hundred terms. CPUs without
float16 arithmetic widen anyway.
"""

from __future__ import annotations

import numpy as np
import onnx

from millstream.targets.relax.rewriting import Writer, rewrite

_HALF, _SINGLE = onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT


def widen(model: onnx.ModelProto) -> onnx.ModelProto:
    """Every node on float32 in place of float16, between casts; inputs and outputs keep their dtypes."""
    wide: dict[str, str] = {}

    def is_half(writer: Writer, name: str) -> bool:
        return name in writer.types and writer.types[name].dtype == np.float16

    def widened(writer: Writer, name: str) -> str:
        if not is_half(writer, name):
            return name
        if name not in wide:
            constant = writer.constants.get(name)
            if constant is None:
                wide[name] = writer.node("Cast", [name], to=_SINGLE)
            else:
                wide[name] = writer.constant(constant.astype(np.float32))
        return wide[name]

    def replace(writer: Writer, node: onnx.NodeProto) -> None:
        if node.op_type == "Cast":
            writer.keep(node)
            return
        rounded = {name: writer.name(name) for name in node.output if is_half(writer, name)}
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copy.input[:] = [widened(writer, name) for name in node.input]
        copy.output[:] = [rounded.get(name, name) for name in node.output]
        writer.keep(copy)
        for name, result in rounded.items():
            writer.node("Cast", [result], name, to=_HALF)

    return rewrite(model, replace)
