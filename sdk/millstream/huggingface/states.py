"""Which tensors of a model's cache are its state: what one more token changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from millstream.errors import NotStreamable
from millstream.huggingface.calling import Calling, Memory, call

#: Counters that are given to the model in another way: positions and an explicit mask.
_COUNTERS = ("cumulative_length", "cumulative_length_int", "_seen_tokens")


@dataclass(frozen=True)
class Found:
    """The state of a model: paths of fixed tensors with their first value (1, ...), and of growing ones.

    `fixed` and `growing` name tensors of the cache, or of the modules where the path starts with `module:`.
    `growing` gives the axis that a token makes longer, and one token's slice (1, ...), zeroed. `template` is
    the memory after one token, in which a step replaces the state.
    """

    template: Memory
    fixed: Mapping[str, Tensor]
    growing: Mapping[str, tuple[int, Tensor]]


def find(calling: Calling, model: nn.Module) -> Found:
    """Run two tokens and see what changes. Raises NotStreamable for a state that is no tensor."""
    one, two = torch.full((1, 1), 1), torch.full((1, 1), 2)
    _, first = call(calling, model, one, torch.zeros(1, 1, dtype=torch.int64), None)
    kept = first.copied()
    _, second = call(calling, model, two, torch.ones(1, 1, dtype=torch.int64), first)
    before, after = kept.tensors(), second.tensors()
    _refuse_scalars(kept.scalars(), second.scalars())
    growing = {p: _growth(p, before[p], after[p]) for p in before if before[p].shape != after[p].shape}
    fixed = [p for p in before if p not in growing and not _is_counter(p) and _changes(before[p], after[p])]
    zeros = {p: torch.zeros_like(before[p]) for p in fixed}
    return Found(kept, zeros, growing)


def _changes(before: Tensor, after: Tensor) -> bool:
    """Whether a token changes it, or it is all zeros and may be changed by a later one."""
    return not torch.equal(before, after) or not bool(before.any())


def _is_counter(path: str) -> bool:
    return path.rpartition(".")[2] in _COUNTERS or path.endswith("_tensor")


def _growth(path: str, before: Tensor, after: Tensor) -> tuple[int, Tensor]:
    axes = [i for i, (a, b) in enumerate(zip(before.shape, after.shape, strict=True)) if a != b]
    if len(axes) != 1 or after.shape[axes[0]] != before.shape[axes[0]] + 1 or before.shape[axes[0]] != 1:
        raise NotStreamable(
            "a tensor of the cache changes its shape in a way that is not one token at a time",
            where=path,
            why=f"{tuple(before.shape)} becomes {tuple(after.shape)}",
            fix="write step(x, state) for this model",
        )
    return axes[0], torch.zeros_like(before)


def _refuse_scalars(before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    changed = [p for p in after if p in before and before[p] != after[p] and not _is_counter(p)]
    if changed:
        raise NotStreamable(
            f"the cache counts in Python: {', '.join(changed)}",
            why="a number that is no tensor would be frozen in the step",
            fix="keep it as a tensor, or write step(x, state) for this model",
        )
