"""A causal language model with its cache as explicit state: one token in, the logits of the next one out."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from millstream.huggingface.calling import Calling, call, whole
from millstream.huggingface.states import Found
from millstream.streamify.banded import Banded

POSITION = "position"
_LAYER = re.compile(r"layers\[(\d+)\]")


class CausalStep(nn.Module):
    """Keeps the protocol of `millstream.protocol` for a model of transformers.

    `forward` takes tokens (B, T) and gives logits (B, T, V), `step` takes (B,) and gives (B, V). Keys and
    values of attention are rings of the last `window` tokens; `forward` is banded in the same way.
    """

    def __init__(self, model: nn.Module, calling: Calling, found: Found, window: int | None) -> None:
        super().__init__()
        self.model = model
        self.window = window
        self._calling, self._found = calling, found
        self._names = {_name(path): path for path in (*found.fixed, *found.growing)}

    def initial_state(self, batch: int) -> dict[str, Tensor]:
        """Before the first token."""
        first = {_name(path): value for path, value in self._found.fixed.items()}
        for path, (axis, one) in self._found.growing.items():
            first[_name(path)] = one.repeat_interleave(self._size(path) - 1, axis)
        state = {name: value.expand(batch, *value.shape[1:]).clone() for name, value in first.items()}
        return {**state, POSITION: torch.zeros(batch, dtype=torch.int64)}

    def step(self, x: Tensor, state: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """One token (B,) and the state; logits (B, V) and the state after it."""
        position = state[POSITION]
        values = {path: state[name] for name, path in self._names.items()}
        memory = self._found.template.with_tensors(values)
        mask = self._masks(lambda size: _mask(position, size)) if self._found.growing else None
        logits, after = call(self._calling, self.model, x[:, None], position[:, None], memory, mask)
        found = after.tensors()
        new = {name: found[path] for name, path in self._names.items()}
        for path, (axis, _) in self._found.growing.items():
            ring = found[path]
            new[_name(path)] = ring.narrow(axis, 1, ring.shape[axis] - 1)
        return logits[:, 0], {**new, POSITION: position + 1}

    def _size(self, path: str) -> int:
        """How many tokens attention sees whose keys or values lie at a path of the cache."""
        own = self._calling.sliding.get(int(_layer(path)))
        return min(size for size in (own, self.window) if size is not None)

    def _masks(self, make: Callable[[int], Tensor]) -> Tensor | dict[str, Tensor]:
        """The mask of a window, or one per kind of attention where some layers have a window of their own."""
        sizes = {path: self._size(path) for path in self._found.growing}
        sliding = [n for path, n in sizes.items() if has_window(self._calling, path)]
        full = [n for path, n in sizes.items() if not has_window(self._calling, path)]
        if not sliding or not full:
            return make(max(sizes.values()))
        return {"full_attention": make(max(full)), "sliding_attention": make(max(sliding))}

    def forward(self, x: Tensor) -> Tensor:
        """Whole sequences of tokens (B, T); logits (B, T, V)."""
        length = x.shape[1]
        implementation = getattr(self.model.config, "_attn_implementation", "")
        mask = None
        if self.window is not None and length > self.window and implementation != "sdpa":
            mask = self._masks(lambda size: _band(length, size))
        with Banded(self.window):
            return whole(self._calling, self.model, x, mask)


def has_window(calling: Calling, path: str) -> bool:
    """Whether a path of the cache lies in a layer with a window of its own."""
    return int(_layer(path)) in calling.sliding


def _layer(path: str) -> str:
    """The number of the layer in a path of the cache, or -1."""
    found = _LAYER.match(path)
    return found[1] if found else "-1"


def _mask(position: Tensor, size: int) -> Tensor:
    """What is added to the scores of the ring and the new key, (B, 1, 1, size): minus much where none is."""
    ages = size - 1 - torch.arange(size)
    absent = ages > position[:, None]
    lowest = torch.full((), torch.finfo(torch.float32).min)
    return torch.where(absent, lowest, torch.zeros(()))[:, None, None]


def _band(length: int, size: int) -> Tensor:
    """What is added to the scores of whole sequences, (1, 1, length, length)."""
    ages = torch.arange(length)[:, None] - torch.arange(length)
    absent = (ages < 0) | (ages >= size)
    return torch.where(absent, torch.finfo(torch.float32).min, 0.0)[None, None]


def _name(path: str) -> str:
    """A path as the name of a state."""
    return re.sub(r"\W+", ".", path).strip(".")
