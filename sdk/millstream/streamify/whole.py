"""Layers kept whole while a module is traced.

torch takes a GRU apart into its frames to find the shapes of its results, which takes seconds for a hundred
frames. Within `Whole` each recurrent layer is one operator of ours that knows its shapes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

_OPTIONS = "bool has_biases, int num_layers, float dropout, bool train, bool bidirectional, bool batch_first"
_ONE = f"(Tensor input, Tensor hx, Tensor[] params, {_OPTIONS}) -> (Tensor, Tensor)"
_TWO = f"(Tensor input, Tensor[] hx, Tensor[] params, {_OPTIONS}) -> (Tensor, Tensor, Tensor)"
_LAYERS = {"rnn_tanh": _ONE, "rnn_relu": _ONE, "gru": _ONE, "lstm": _TWO}

_library = torch.library.Library("millstream_whole", "DEF")


def _shapes(x: Tensor, hx: Any, params: list[Tensor], *options: Any) -> tuple[Tensor, ...]:
    """Results of the layer's shapes: the last hidden state's width, once or twice, at every frame."""
    states = list(hx) if isinstance(hx, (list, tuple)) else [hx]
    width = states[0].shape[-1] * (2 if options[4] else 1)
    return (x.new_empty((*x.shape[:-1], width)), *(state.new_empty(state.shape) for state in states))


def _define(name: str, schema: str) -> None:
    _library.define(f"{name}{schema}")
    layer = getattr(torch._VF, name)  # type: ignore[attr-defined]
    _library.impl(name, lambda *arguments: layer(*arguments), "CPU")
    torch.library.register_fake(f"millstream_whole::{name}", _shapes, lib=_library)


for _name, _schema in _LAYERS.items():
    _define(_name, _schema)


def own_function(target: Any) -> Any:
    """What computes a target of the traced graph: torch's function for one of our operators.

    A view becomes a reshape, for a step's strides may differ from those that were traced.
    """
    name = str(target)
    if target is torch.ops.aten.view.default:
        return torch.ops.aten.reshape.default
    if not name.startswith("millstream_whole."):
        return target
    return getattr(torch._VF, name.split(".")[1])  # type: ignore[attr-defined]


class Whole(TorchFunctionMode):
    """Within it a recurrent layer, or the core of nn.MultiheadAttention, is one operator."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = getattr(func, "__name__", "")
        if name == "multi_head_attention_forward":
            # The weights that it gives by default are mostly dropped, and cost it the kernel.
            return func(*args, **{**(kwargs or {}), "need_weights": False})
        if name in _LAYERS and len(args) == 9 and isinstance(args[3], bool):
            return getattr(torch.ops.millstream_whole, name)(*args)
        return func(*args, **(kwargs or {}))
