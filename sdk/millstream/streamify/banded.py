"""Attention over all earlier frames, cut to a window while a module runs over whole sequences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode


class Banded(TorchFunctionMode):
    """Within it a causal scaled_dot_product_attention sees the last `window` frames; None changes nothing."""

    def __init__(self, window: int | None) -> None:
        super().__init__()
        self._window = window

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func is F.scaled_dot_product_attention and self._window is not None:
            names = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")
            given = {**dict(zip(names, args, strict=False)), **kwargs}
            length = given["query"].shape[-2]
            if length == given["key"].shape[-2] > self._window:
                return func(**_banded(given, length, self._window))
        return func(*args, **kwargs)


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
