"""Products of a vector (batch, in) by a constant matrix, as a graph writes them: MatMul, or Gemm."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.helper

from millstream.graph import attributes
from millstream.reparameterize.graph.editing import View


def weight(view: View, node: onnx.NodeProto) -> np.ndarray | None:
    """(width, in) float64 of a product that reads a vector as its first operand; None for any other node."""
    matrix = view.constant(node.input[1]) if node.op_type in ("Gemm", "MatMul") else None
    given = attributes(node)
    scaled = any(given.get(name, 1.0) != 1.0 for name in ("alpha", "beta"))
    if matrix is None or matrix.ndim != 2 or given.get("transA") or scaled:
        return None
    return matrix.astype(np.float64) if given.get("transB") else matrix.astype(np.float64).T


def addend(node: onnx.NodeProto) -> str:
    """What a product adds to its result; empty for nothing."""
    return node.input[2] if len(node.input) > 2 else ""


def affine(view: View, node: onnx.NodeProto) -> tuple[np.ndarray, np.ndarray] | None:
    """Weight (width, in) and bias (width,), float64, of a product that adds nothing but a constant."""
    matrix, name = weight(view, node), addend(node)
    bias = view.constant(name) if name else np.zeros(1)
    if matrix is None or bias is None:
        return None
    return matrix, np.broadcast_to(bias.astype(np.float64).reshape(-1), len(matrix))
