"""How a causal language model is called for one token: its arguments by their names, its cache in and out."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from millstream.errors import NotStreamable
from millstream.huggingface.walking import (
    module_tensors,
    replaced,
    scalars,
    set_module_tensors,
    tensors,
)

#: What models call their cache.
_CACHES = ("past_key_values", "cache_params", "state", "rnn_state")
_MODULE = "module:"
_ENDLESS = 1 << 30


@dataclass(frozen=True)
class Memory:
    """What a model remembers: its cache, and tensors in plain attributes of its modules."""

    cache: Any
    modules: Mapping[str, Tensor] = field(default_factory=dict)

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor by path."""
        own = {_MODULE + path: value for path, value in self.modules.items()}
        return {**tensors(self.cache), **own}

    def scalars(self) -> dict[str, Any]:
        """Every number of the cache by path."""
        return scalars(self.cache)

    def with_tensors(self, values: Mapping[str, Tensor]) -> Memory:
        """The same memory with some of its tensors replaced."""
        own = {path: values.get(_MODULE + path, value) for path, value in self.modules.items()}
        return Memory(replaced(self.cache, values), own)

    def copied(self) -> Memory:
        """The memory with tensors of its own."""
        return self.with_tensors({path: value.clone() for path, value in self.tensors().items()})


@dataclass(frozen=True)
class Calling:
    """The names of the arguments that a model takes; an empty name where it takes none.

    `own_cache` is true for a model that makes its cache itself and takes no other. `sliding` gives the window
    of each layer of the cache that has one of its own.
    """

    cache: str
    positions: str
    mask: str
    own_cache: bool = False
    sliding: Mapping[int, int] = field(default_factory=dict)


def calling_of(model: nn.Module) -> Calling:
    """Read the signature of `forward`. Raises NotStreamable when it takes no cache."""
    names = inspect.signature(model.forward).parameters
    cache = next((name for name in _CACHES if name in names), "")
    if not cache:
        raise NotStreamable(
            f"{type(model).__name__} takes no cache",
            why=f"its forward has none of {', '.join(_CACHES)}",
            fix="use a causal language model with a recurrent or attention cache",
        )
    found = Calling(
        cache,
        "position_ids" if "position_ids" in names else "",
        "attention_mask" if "attention_mask" in names else "",
        own_cache=cache != "past_key_values",
    )
    try:
        token = torch.ones(1, 1, dtype=torch.int64)
        call(found, model, token, torch.zeros_like(token), None)
    except ValueError:
        # Some models of the library have a class of cache to themselves, and say so.
        found = replace(found, own_cache=True)
    layers = getattr(_new_cache(found, model), "layers", [])
    return replace(found, sliding={i: w for i, layer in enumerate(layers) if (w := _window(layer))})


def _window(layer: Any) -> int:
    """The window that a layer of a cache has of its own, or 0."""
    return getattr(layer, "sliding_window", 0) or 0


def call(
    calling: Calling,
    model: nn.Module,
    tokens: Tensor,
    positions: Tensor,
    memory: Memory | None,
    mask: Tensor | Mapping[str, Tensor] | None = None,
) -> tuple[Tensor, Memory]:
    """Tokens (B, T) through the model from a memory, or from none: logits (B, T, V) and the memory after.

    The model itself is left as it was; tensors in its modules' attributes travel in the memory.
    """
    before = dict.fromkeys(module_tensors(model))
    held = module_tensors(model)
    if memory is not None:
        set_module_tensors(model, memory.modules)
    given: dict[str, Any] = {calling.cache: memory.cache if memory else _empty_cache(calling, model)}
    if calling.positions:
        given[calling.positions] = positions
    if calling.mask and mask is not None:
        given[calling.mask] = mask
    try:
        result = model(input_ids=tokens, use_cache=True, **given)
        modules = module_tensors(model)
    finally:
        left = {path: None for path in module_tensors(model) if path not in before}
        set_module_tensors(model, {**left, **held})
    cache = getattr(result, calling.cache, None)
    changed = {
        p: v for p, v in modules.items() if p not in held or (memory is not None and p in memory.modules)
    }
    return result.logits, Memory(given[calling.cache] if cache is None else cache, changed)


def _empty_cache(calling: Calling, model: nn.Module) -> Any:
    """A cache to fill where the model does not make its own; its layers drop nothing, our rings do that."""
    cache = _new_cache(calling, model)
    for place in calling.sliding:
        cache.layers[place].sliding_window = _ENDLESS
    return cache


def _new_cache(calling: Calling, model: nn.Module) -> Any:
    if calling.own_cache:
        return None
    from transformers import DynamicCache  # pyright: ignore[reportMissingImports]

    return DynamicCache(config=model.config)  # type: ignore[arg-type]


def whole(
    calling: Calling, model: nn.Module, tokens: Tensor, mask: Tensor | Mapping[str, Tensor] | None = None
) -> Tensor:
    """Whole sequences (B, T) through the model without a cache: logits (B, T, V)."""
    given: dict[str, Any] = {"use_cache": False}
    if calling.positions:
        given[calling.positions] = torch.arange(tokens.shape[1]).expand_as(tokens)
    if mask is not None:
        given[calling.mask] = mask
    return model(input_ids=tokens, **given).logits
