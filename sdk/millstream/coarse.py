"""Coarse operations: model-local ONNX functions whose bodies are the definition.

A model calls a torch custom operator of the `millstream` namespace; the exporter writes one node of the
same meaning and adds the function below. Any ONNX runtime can run the body; a backend may match the
name and use one kernel. Operand order follows ONNX's own stateful operators: data, parameters, past
state; results, then present state.
"""

from __future__ import annotations

import onnx
import onnx.defs
import onnx.parser

from millstream.graph import OPSET

DOMAIN = "millstream"
VERSION = 1

#: y = sum over taps of weight[:, k, :] @ window[k] + bias, where window is past with x appended; the
#: present ring is the window without its oldest column. x (B, C), weight (O, K, C), past (B, K-1, C).
_CAUSAL_CONV_RING = """
CausalConvRing (x, weight, bias, past) => (y, present) {
  one = Constant <value = int64[1] {1}> ()
  end = Constant <value = int64[1] {9223372036854775807}> ()
  column = Unsqueeze (x, one)
  window = Concat <axis = 1> (past, column)
  present = Slice (window, one, end, one)
  flat = Flatten <axis = 1> (window)
  matrix = Flatten <axis = 1> (weight)
  y = Gemm <transB = 1> (flat, matrix, bias)
}
"""

#: present = past @ transition^T + u * input_matrix. u (B, 1), transition (Q, Q), input_matrix (Q,).
_LINEAR_MEMORY = """
LinearMemory (u, transition, input_matrix, past) => (present) {
  write = Mul (u, input_matrix)
  present = Gemm <transB = 1> (past, transition, write)
}
"""

#: The torch operator that stands for each function.
TORCH_NAMES = {
    "CausalConvRing": "causal_conv_ring",
    "LinearMemory": "linear_memory",
}


def functions() -> list[onnx.FunctionProto]:
    """Every coarse operation as an ONNX function."""
    head = f'<domain: "{DOMAIN}", opset_import: ["" : {OPSET}]>'
    return [onnx.parser.parse_function(head + body) for body in (_CAUSAL_CONV_RING, _LINEAR_MEMORY)]


def schema(function: onnx.FunctionProto) -> onnx.defs.OpSchema:
    """An operator schema for the function: one float type for every operand, each optional."""
    formal = onnx.defs.OpSchema.FormalParameter
    optional = onnx.defs.OpSchema.FormalParameterOption.Optional
    return onnx.defs.OpSchema(
        function.name,
        DOMAIN,
        VERSION,
        inputs=[formal(name, "T", param_option=optional) for name in function.input],
        outputs=[formal(name, "T") for name in function.output],
        type_constraints=[("T", ["tensor(float)", "tensor(double)", "tensor(float16)"], "")],
    )
