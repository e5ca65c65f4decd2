"""Attention over all earlier frames, cut to a window while a module runs over whole sequences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

_ATTENTION = functional.scaled_dot_product_attention
_LAYER = functional.multi_head_attention_forward
_OPERANDS = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")


class Banded(TorchFunctionMode):
    """Within it a causal scaled_dot_product_attention sees the last `window` frames; None changes nothing.

    The function is replaced by its name as well, for torch's own layers call it where a mode does not see it;
    and their fused path, which does not call it at all, is off.
    """

    def __init__(self, window: int | None) -> None:
        super().__init__()
        self._window = window
        self._fused = torch.backends.mha.get_fastpath_enabled()

    def __enter__(self) -> Self:
        if self._window is not None:
            torch.backends.mha.set_fastpath_enabled(False)
            functional.scaled_dot_product_attention = self._attend
            functional.multi_head_attention_forward = _without_weights
        super().__enter__()
        return self

    def __exit__(self, *raised: Any) -> None:
        super().__exit__(*raised)
        functional.scaled_dot_product_attention = _ATTENTION
        functional.multi_head_attention_forward = _LAYER
        torch.backends.mha.set_fastpath_enabled(self._fused)

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is _ATTENTION and self._window is not None:
            return self._attend(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))

    def _attend(self, *args: Any, **kwargs: Any) -> Any:
        given = {**dict(zip(_OPERANDS, args, strict=False)), **kwargs}
        length = given["query"].shape[-2]
        if self._window is not None and length == given["key"].shape[-2] > self._window:
            given = _banded(given, length, self._window)
        return _ATTENTION(**given)


def _without_weights(*args: Any, **kwargs: Any) -> Any:
    """The core of nn.MultiheadAttention by way of the function above, which gives no weights."""
    return _LAYER(*args, **{**kwargs, "need_weights": False})


def _banded(given: dict[str, Any], length: int, window: int) -> dict[str, Any]:
    places = torch.arange(length)
    near = places[:, None] - places[None] < window
    mask = given.get("attn_mask")
    if given.get("is_causal"):
        allowed = near & (places[:, None] >= places[None])
        return {**given, "is_causal": False, "attn_mask": allowed}
    if mask is None:
        return given
    if mask.dtype == torch.bool:
        return {**given, "attn_mask": mask & near}
    return {**given, "attn_mask": mask.masked_fill(~near, -torch.inf)}
