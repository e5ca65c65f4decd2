"""What a rewrite offers: a place in the module, and either a change to make there or why it cannot be."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, nn

from millstream.reparameterize.flow import Flow


@dataclass(frozen=True)
class Candidate:
    """`transform` changes a copy of the module in place; None where a precondition fails, which `why` says.

    Both name submodules by path, so that they fit every copy.
    """

    where: str
    transform: Callable[[nn.Module], None] | None = None
    why: str = ""


class Rewrite(Protocol):
    """A rewrite: finds its places in a module whose flow was recorded."""

    def __call__(self, root: nn.Module, flow: Flow) -> Iterable[Candidate]:
        """Every place in `root`, those whose precondition fails among them."""
        ...


def part(root: nn.Module, path: str) -> Any:
    """The submodule at `path`; which attributes it has depends on its class."""
    return root.get_submodule(path)


def put(root: nn.Module, path: str, new: nn.Module) -> None:
    """Put `new` in the place of the submodule at `path`, and wherever else the same object stands."""
    old = root.get_submodule(path)
    for parent in list(root.modules()):
        # Not by named_children, which lists a module that one parent holds under two names only once.
        for name, child in parent._modules.items():
            if child is old:
                parent._modules[name] = new


def set_parameters(layer: Any, weight: Tensor, bias: Tensor | None) -> None:
    """Give a layer new weights, cast once to the dtype that it computes in."""
    dtype = layer.weight.dtype
    layer.weight = nn.Parameter(weight.to(dtype), requires_grad=False)
    layer.bias = None if bias is None else nn.Parameter(bias.to(dtype), requires_grad=False)


def joined(reasons: Sequence[str]) -> str:
    """All reasons in one text."""
    return "; ".join(dict.fromkeys(reasons))
