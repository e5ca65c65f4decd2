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

#: S' = S diag(decay) + v k^T, o = S' q. q, k (B, H or 1, K), v (B, H, V), decay (B, H, K or 1),
#: past (B, H, V, K). Every write is one element-wise pass over the state, and the read follows it.
_LINEAR_RECURRENCE = """
LinearRecurrence (q, k, v, decay, past) => (o, present) {
  row = Constant <value = int64[1] {-2}> ()
  column = Constant <value = int64[1] {-1}> ()
  factor = Unsqueeze (decay, row)
  kept = Mul (past, factor)
  key = Unsqueeze (k, row)
  value = Unsqueeze (v, column)
  write = Mul (value, key)
  present = Add (kept, write)
  query = Unsqueeze (q, column)
  read = MatMul (present, query)
  o = Squeeze (read, column)
}
"""

#: D = S diag(decay), S' = D + strength (v - D k) k^T, o = S' q. strength (B, H, 1).
_DELTA_RULE = """
DeltaRule (q, k, v, strength, decay, past) => (o, present) {
  row = Constant <value = int64[1] {-2}> ()
  column = Constant <value = int64[1] {-1}> ()
  factor = Unsqueeze (decay, row)
  decayed = Mul (past, factor)
  probe = Unsqueeze (k, column)
  found = MatMul (decayed, probe)
  value = Unsqueeze (v, column)
  missing = Sub (value, found)
  amount = Unsqueeze (strength, column)
  error = Mul (missing, amount)
  key = Unsqueeze (k, row)
  write = Mul (error, key)
  present = Add (decayed, write)
  query = Unsqueeze (q, column)
  read = MatMul (present, query)
  o = Squeeze (read, column)
}
"""

#: S' = S (diag(decay) + probe erase^T) + v k^T, o = S' q. erase, probe (B, H, K).
_RANK_ONE_RECURRENCE = """
RankOneRecurrence (q, k, v, decay, erase, probe, past) => (o, present) {
  row = Constant <value = int64[1] {-2}> ()
  column = Constant <value = int64[1] {-1}> ()
  sought = Unsqueeze (probe, column)
  found = MatMul (past, sought)
  factor = Unsqueeze (decay, row)
  kept = Mul (past, factor)
  eraser = Unsqueeze (erase, row)
  erased = Mul (found, eraser)
  key = Unsqueeze (k, row)
  value = Unsqueeze (v, column)
  write = Mul (value, key)
  changed = Add (kept, erased)
  present = Add (changed, write)
  query = Unsqueeze (q, column)
  read = MatMul (present, query)
  o = Squeeze (read, column)
}
"""

#: y = sum over taps of weight[k] * window[k] + bias, channels apart. x, bias (B, C), (C,), weight (K, C).
_CAUSAL_DEPTHWISE_RING = """
CausalDepthwiseRing (x, weight, bias, past) => (y, present) {
  one = Constant <value = int64[1] {1}> ()
  end = Constant <value = int64[1] {9223372036854775807}> ()
  column = Unsqueeze (x, one)
  window = Concat <axis = 1> (past, column)
  present = Slice (window, one, end, one)
  products = Mul (window, weight)
  total = ReduceSum <keepdims = 0> (products, one)
  y = Add (total, bias)
}
"""

#: x' = a x + u and y = Re(sum c x'), complex numbers as pairs. u (B, C), a and c (C, N), past (B, C, N).
_COMPLEX_DIAGONAL = """
ComplexDiagonal (u, real, imaginary, read_real, read_imaginary, past_real, past_imaginary)
  => (y, present_real, present_imaginary) {
  last = Constant <value = int64[1] {-1}> ()
  drive = Unsqueeze (u, last)
  rr = Mul (real, past_real)
  ii = Mul (imaginary, past_imaginary)
  turned = Sub (rr, ii)
  present_real = Add (turned, drive)
  ri = Mul (real, past_imaginary)
  ir = Mul (imaginary, past_real)
  present_imaginary = Add (ri, ir)
  seen_real = Mul (read_real, present_real)
  seen_imaginary = Mul (read_imaginary, present_imaginary)
  seen = Sub (seen_real, seen_imaginary)
  y = ReduceSum <keepdims = 0> (seen, last)
}
"""

#: The torch operator that stands for each function.
TORCH_NAMES = {
    "CausalConvRing": "causal_conv_ring",
    "LinearMemory": "linear_memory",
    "LinearRecurrence": "linear_recurrence",
    "DeltaRule": "delta_rule",
    "RankOneRecurrence": "rank_one_recurrence",
    "CausalDepthwiseRing": "causal_depthwise_ring",
    "ComplexDiagonal": "complex_diagonal",
}

_BODIES = (
    _CAUSAL_CONV_RING,
    _LINEAR_MEMORY,
    _LINEAR_RECURRENCE,
    _DELTA_RULE,
    _RANK_ONE_RECURRENCE,
    _CAUSAL_DEPTHWISE_RING,
    _COMPLEX_DIAGONAL,
)


def functions() -> list[onnx.FunctionProto]:
    """Every coarse operation as an ONNX function."""
    head = f'<domain: "{DOMAIN}", opset_import: ["" : {OPSET}]>'
    return [onnx.parser.parse_function(head + body) for body in _BODIES]


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
