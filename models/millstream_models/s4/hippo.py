"""The start of S4: the matrix that keeps a signal's Legendre coefficients, as a diagonal less a rank one.

Source: Gu et al., "HiPPO: Recurrent Memory with Optimal Polynomial Projections" (NeurIPS 2020); the normal
form is that of the S4 paper.
"""

from __future__ import annotations

import torch
from torch import Tensor


def legendre(order: int) -> tuple[Tensor, Tensor, Tensor]:
    """Frequencies (order / 2,) and P (order / 2,) of A = Λ - P Pᵀ with Λ = -½ + i frequency, and B complex.

    A + p pᵀ with p = sqrt(n + ½) is -½ plus a skew-symmetric matrix; its eigenvectors are orthonormal, and of
    each conjugate pair one is kept, turned so that P is real and positive. Float64.
    """
    n = torch.arange(order, dtype=torch.float64)
    p, b = torch.sqrt(n + 0.5), torch.sqrt(2 * n + 1)
    skew = torch.outer(p, p)
    skew = torch.triu(skew, 1) - torch.tril(skew, -1)
    frequency, vectors = torch.linalg.eigh(-1j * skew)
    frequency, vectors = frequency[order // 2 :], vectors[:, order // 2 :]
    factor = vectors.mH @ p.to(vectors.dtype)
    phase = factor / factor.abs()
    return frequency, factor.abs(), (vectors.mH @ b.to(vectors.dtype)) / phase
