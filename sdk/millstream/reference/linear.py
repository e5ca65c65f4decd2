"""Matrix products. Float products accumulate in float64 and round once; integer products are exact.

Source of every definition: the ONNX operator specification, opset 21.
"""

from __future__ import annotations

import numpy as np

from millstream.reference.precision import Operator, rounded_once


def gemm(
    a: np.ndarray,
    b: np.ndarray,
    c: np.ndarray | None = None,
    alpha: float = 1.0,
    beta: float = 1.0,
    transA: int = 0,
    transB: int = 0,
) -> np.ndarray:
    """alpha A B + beta C for A (M, K) and B (K, N), either given transposed; C broadcasts to (M, N)."""
    product = alpha * ((a.T if transA else a) @ (b.T if transB else b))
    return product if c is None else product + beta * c


def einsum(*operands: np.ndarray, equation: str) -> np.ndarray:
    """Einstein summation as `equation` says."""
    return np.einsum(equation, *operands)


OPERATORS: dict[str, Operator] = {
    "Einsum": rounded_once(einsum),
    "Gemm": rounded_once(gemm),
    "MatMul": rounded_once(np.matmul),
}
