"""What a module costs per frame: parameters that are stored, and multiplications that a step does."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from millstream.reparameterize.report import Cost


def cost(root: nn.Module, run: Callable[[], object]) -> Cost:
    """Parameters and buffers of floating point, each once, and the MACs of one call of `run`.

    A product of matrices counts its multiplications, an elementwise product one per result. A batch norm
    with fixed statistics counts one per number; a norm over the channels one for each statistic, one to
    divide, one for its gain. Additions alone count nothing.
    """
    counter = _Counter()
    with torch.no_grad(), counter:
        run()
    tensors = {id(t): t for t in (*root.parameters(), *root.buffers()) if t.is_floating_point()}
    return Cost(sum(t.numel() for t in tensors.values()), counter.macs)


class _Counter(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.macs = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        count = _MACS.get(func.overloadpacket.__name__)
        if count:
            first = next(item for item in tree_leaves(result) if isinstance(item, torch.Tensor))
            self.macs += count(args, first)
        return result


def _matrices(a: int, b: int) -> Callable[[Any, torch.Tensor], int]:
    """Of a product of the operands at these places: every result sums over the last axis of the first."""
    return lambda args, y: y.numel() * args[a].shape[-1]


def _convolution(args: Any, y: torch.Tensor) -> int:
    weight, transposed = args[1], args[6]
    x = args[0]
    return (x if transposed else y).numel() * math.prod(weight.shape[1:])


def _norm(statistics: int) -> Callable[[Any, torch.Tensor], int]:
    return lambda args, y: y.numel() * (statistics + 1 + (args[2] is not None))


_MACS: dict[str, Callable[[Any, torch.Tensor], int]] = {
    "mm": _matrices(0, 1),
    "addmm": _matrices(1, 2),
    "bmm": _matrices(0, 1),
    "baddbmm": _matrices(1, 2),
    "convolution": _convolution,
    "native_batch_norm": lambda args, y: y.numel(),
    "_native_batch_norm_legit_no_training": lambda args, y: y.numel(),
    "native_layer_norm": _norm(2),
    "_fused_rms_norm": _norm(1),
    "mul": lambda args, y: y.numel(),
    "causal_conv_ring": lambda args, y: args[0].shape[0] * args[1].numel(),
    "linear_memory": lambda args, y: args[0].shape[0] * (args[1].numel() + args[2].numel()),
}
