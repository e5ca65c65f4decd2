"""The recurrences over whole sequences: chunks of frames by matrix products, the state from chunk to chunk.

Inside a chunk every pair of frames needs the product of the decays between them. It is built by
multiplication, never as a quotient of cumulative products or a difference of logarithms: a decay may be
zero, negative or tiny, and nothing overflows. The delta family is brought to the same shape by solving for
what each probe finds (the WY form of Yang et al., "Parallelizing Linear Transformers with the Delta Rule",
2024), one triangular system per chunk.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

CHUNK = 16


def chunked_linear_recurrence(
    q: Tensor, k: Tensor, v: Tensor, decay: Tensor, past: Tensor
) -> tuple[Tensor, Tensor]:
    """What `linear_recurrence` gives frame by frame.

    Args:
        q, k: (B, T, H, K); (B, T, 1, K) where all heads share them.
        v: (B, T, H, V).
        decay: (B, T, H, K) or (B, T, H, 1).
        past: (B, H, V, K).

    Returns:
        The reads (B, T, H, V), and the state after the last frame.
    """
    length = v.shape[1]
    q, k, v, decay = (_chunks(x, fill) for x, fill in ((q, 0.0), (k, 0.0), (v, 0.0), (decay, 1.0)))
    narrow = v.shape[-1] < min(CHUNK, decay.shape[-1])
    chunk = _scanned(q, k, v, decay) if narrow else _multiplied(q, k, v, decay)
    outputs, state = [], past
    for within, reads, writes, total in zip(*(x.unbind(2) for x in chunk), strict=True):
        outputs.append(within + reads @ state.mT)
        state = state * total + writes
    return _frames(outputs, length), state


class _Chunk(NamedTuple):
    """What each chunk does by itself, (B, H, N, ...)."""

    #: Reads of what the chunk itself wrote, (C, V).
    within: Tensor
    #: Queries that read the state before the chunk, (C, K).
    reads: Tensor
    #: What the chunk adds to the state, (V, K).
    writes: Tensor
    #: The decay of the state over the chunk, (1, K).
    total: Tensor


def _multiplied(q: Tensor, k: Tensor, v: Tensor, decay: Tensor) -> _Chunk:
    window = _window(decay)
    within = _scores(q, window.between, k) @ v
    return _Chunk(within, q * window.before, v.mT @ (k * window.until_end), window.total)


def _scanned(q: Tensor, k: Tensor, v: Tensor, decay: Tensor) -> _Chunk:
    """Frame by frame, all chunks at once: cheaper than products of pairs when values are narrow (Mamba)."""
    state = v.new_zeros(())
    before = v.new_ones(())
    within, reads = [], []
    # Not slices: the derivative of each slice would be a whole tensor of zeros.
    for read, key, value, factor in zip(*(x.unbind(-2) for x in (q, k, v, decay)), strict=True):
        state = state * factor.unsqueeze(-2) + value.unsqueeze(-1) * key.unsqueeze(-2)
        before = before * factor
        within.append((state * read.unsqueeze(-2)).sum(-1))
        reads.append(read * before)
    return _Chunk(torch.stack(within, -2), torch.stack(reads, -2), state, before.unsqueeze(-2))


def chunked_rank_one_recurrence(
    q: Tensor, k: Tensor, v: Tensor, decay: Tensor, erase: Tensor, probe: Tensor, past: Tensor
) -> tuple[Tensor, Tensor]:
    """What `rank_one_recurrence` gives frame by frame; shapes as above, `erase` and `probe` like `k`.

    What the probe of frame t finds depends on what earlier probes of the chunk found: u = L u + known, with
    L strictly lower triangular.
    """
    length = v.shape[1]
    operands = ((q, 0.0), (k, 0.0), (v, 0.0), (decay, 1.0), (erase, 0.0), (probe, 0.0))
    q, k, v, decay, erase, probe = (_chunks(x, fill) for x, fill in operands)
    window = _window(decay)
    earlier = torch.cat((torch.zeros_like(window.between[..., :1, :, :]), window.between[..., :-1, :, :]), -3)
    start = torch.cat((torch.ones_like(window.before[..., :1, :]), window.before[..., :-1, :]), -2)
    system = torch.eye(CHUNK, dtype=v.dtype, device=v.device) - _scores(probe, earlier, erase)
    known = torch.cat((probe * start, _scores(probe, earlier, k) @ v), -1)
    solved = torch.linalg.solve_triangular(system, known, upper=False, unitriangular=True)
    from_state, from_values = solved.split((q.shape[-1], v.shape[-1]), -1)
    written, erased = _scores(q, window.between, k) @ v, _scores(q, window.between, erase)
    reads = q * window.before
    keys, erasers = k * window.until_end, erase * window.until_end
    outputs, state = [], past
    for n in range(v.shape[2]):
        found = from_state[:, :, n] @ state.mT + from_values[:, :, n]
        outputs.append(written[:, :, n] + erased[:, :, n] @ found + reads[:, :, n] @ state.mT)
        added = v[:, :, n].mT @ keys[:, :, n] + found.mT @ erasers[:, :, n]
        state = state * window.total[:, :, n] + added
    return _frames(outputs, length), state


class _Window(NamedTuple):
    """Products of decays in each chunk, (B, H, N, ...): K is 1 where a head has one decay."""

    #: From after frame j up to frame i, (C, C, K); zero where j comes after i.
    between: Tensor
    #: From the start of the chunk up to frame i, (C, K).
    before: Tensor
    #: From after frame j to the end of the chunk, (C, K).
    until_end: Tensor
    #: Over the whole chunk, (1, K).
    total: Tensor


def _window(decay: Tensor) -> _Window:
    identity = torch.eye(CHUNK, dtype=decay.dtype, device=decay.device).unsqueeze(-1)
    row, rows = torch.zeros_like(decay), []
    for factor, here in zip(decay.unbind(-2), identity, strict=True):
        row = row * factor.unsqueeze(-2) + here
        rows.append(row)
    between = torch.stack(rows, -3)
    before = between[..., 0, :] * decay[..., :1, :]
    return _Window(between, before, between[..., -1, :, :], before[..., -1:, :])


def _scores(rows: Tensor, between: Tensor, columns: Tensor) -> Tensor:
    """sum_K rows[i] * between[i, j] * columns[j], (..., C, C)."""
    if between.shape[-1] == 1:
        return rows @ columns.mT * between.squeeze(-1)
    return torch.einsum("...ik,...ijk,...jk->...ij", rows, between, columns)


def _chunks(x: Tensor, fill: float) -> Tensor:
    """(B, T, H or 1, ·) -> (B, H or 1, N, C, ·), the last chunk filled with frames that change nothing."""
    batch, length, heads, width = x.shape
    count = -(-length // CHUNK)
    x = x.transpose(1, 2)
    filling = x.new_full((batch, heads, count * CHUNK - length, width), fill)
    return torch.cat((x, filling), 2).unflatten(2, (count, CHUNK))


def _frames(outputs: list[Tensor], length: int) -> Tensor:
    """Chunks (B, H, C, V) -> frames (B, T, H, V)."""
    return torch.cat(outputs, 2)[:, :, :length].transpose(1, 2)
