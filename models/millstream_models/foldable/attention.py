"""SLAB's simplified linear attention: ReLU features, a running sum of keys times values, a local convolution.

o[i] = q[i]^T (sum k v^T) / (q[i]^T sum k + 1e-6) + local(v)[i] per head, with q = relu(Wq x), k = relu(Wk x).
Over an image the sums run over all tokens and the local part is a depthwise convolution over both axes. In
a stream the sums run over the frames so far, and the local part over this frame and those before it.

Source of the maths: Guo et al., "SLAB" (ICML 2024). The causal form is ours: the paper's local convolution
looks at the tokens after as well.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

_KERNEL = 3
_EPSILON = 1e-6


class _Projections(nn.Module):
    """Queries, keys and values of several heads, and the layer after them."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.out = nn.Linear(width, width)

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(..., width) -> queries and keys (..., heads, d), both positive, and values (..., width)."""
        return self.split(torch.relu(self.query(x))), self.split(torch.relu(self.key(x))), self.value(x)

    def split(self, x: Tensor) -> Tensor:
        """(..., width) -> (..., heads, d)."""
        return x.unflatten(-1, (self.heads, x.shape[-1] // self.heads))


class ImageAttention(_Projections):
    """Over all tokens of an image of `rows` times `columns` patches: (B, rows * columns, width)."""

    def __init__(self, width: int, heads: int, rows: int, columns: int) -> None:
        super().__init__(width, heads)
        self.rows, self.columns = rows, columns
        self.local = nn.Conv2d(width, width, _KERNEL, padding=_KERNEL // 2, groups=width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.project(x)
        values = self.split(v)
        written = torch.einsum("bthk,bthv->bhkv", k, values)
        weight = torch.einsum("bthk,bhk->bth", q, k.sum(1)) + _EPSILON
        mixed = torch.einsum("bthk,bhkv->bthv", q, written) / weight.unsqueeze(-1)
        image = v.transpose(1, 2).unflatten(2, (self.rows, self.columns))
        local = self.local(image).flatten(2).transpose(1, 2)
        return self.out(mixed.flatten(2) + local)


class CausalAttention(_Projections):
    """Over the frames so far; the state of a step is the two sums and a ring of values."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__(width, heads)
        self.local = nn.Conv1d(width, width, _KERNEL, groups=width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, width) -> (B, T, width)."""
        q, k, v = self.project(x)
        written = (k.unsqueeze(-1) * self.split(v).unsqueeze(-2)).cumsum(1)
        local = self.local(functional.pad(v.transpose(1, 2), (_KERNEL - 1, 0))).transpose(1, 2)
        return self.out(_read(q, written, k.cumsum(1)) + local)

    def step(self, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """(B, width), the sums (B, heads, d, d) and (B, heads, d), the ring (B, 2, width) -> the same."""
        written, weight, ring = state
        q, k, v = self.project(x)
        written = written + k.unsqueeze(-1) * self.split(v).unsqueeze(-2)
        weight = weight + k
        window = torch.cat((ring, v.unsqueeze(1)), dim=1)
        local = self.local(window.transpose(1, 2)).squeeze(2)
        return self.out(_read(q, written, weight) + local), (written, weight, window[:, 1:])

    def initial_state(self, batch: int) -> tuple[Tensor, ...]:
        """Nothing was written, and the ring holds the zeros of the padding."""
        weight = self.out.weight
        width = weight.shape[0]
        head = width // self.heads
        return (
            weight.new_zeros(batch, self.heads, head, head),
            weight.new_zeros(batch, self.heads, head),
            weight.new_zeros(batch, _KERNEL - 1, width),
        )


def _read(q: Tensor, written: Tensor, weight: Tensor) -> Tensor:
    """q^T written / (q^T weight + epsilon), heads side by side."""
    mixed = (q.unsqueeze(-1) * written).sum(-2)
    return (mixed / ((q * weight).sum(-1, keepdim=True) + _EPSILON)).flatten(-2)
