"""Tensors inside a cache: found by their path, and put back into a copy of it.

A cache may be anything: an object with attributes, a list, a tuple, a dictionary, or nestings of them. A path
such as `layers[0].keys` names one tensor in it.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor, nn

_PLAIN = (bool, int, float, str, bytes, type(None))


def tensors(found: Any, path: str = "") -> dict[str, Tensor]:
    """Every tensor in it, by path; a tensor that is reachable twice is named once."""
    return {where: item for where, item in _walk(found, path, set()) if isinstance(item, Tensor)}


def scalars(found: Any, path: str = "") -> dict[str, Any]:
    """Every number, text and truth value in it, by path."""
    return {where: item for where, item in _walk(found, path, set()) if isinstance(item, _PLAIN)}


def replaced(found: Any, values: Mapping[str, Tensor], path: str = "") -> Any:
    """A copy with some of its tensors replaced; what lies beside them is shared."""
    if isinstance(found, Tensor):
        return values.get(path, found)
    if isinstance(found, dict):
        made = copy.copy(found)
        made.update({key: replaced(item, values, f"{path}[{key!r}]") for key, item in found.items()})
        return made
    if isinstance(found, (list, tuple)):
        items = [replaced(item, values, f"{path}[{i}]") for i, item in enumerate(found)]
        return type(found)(items) if type(found) in (list, tuple) else found
    if _is_open(found):
        made = copy.copy(found)
        for name, item in vars(found).items():
            vars(made)[name] = replaced(item, values, f"{path}.{name}" if path else name)
        return made
    return found


def _walk(found: Any, path: str, seen: set[int]) -> Iterator[tuple[str, Any]]:
    if isinstance(found, (Tensor, *_PLAIN)):
        if not isinstance(found, Tensor) or id(found) not in seen:
            seen.add(id(found))
            yield path, found
        return
    if id(found) in seen:
        return
    seen.add(id(found))
    if isinstance(found, dict):
        for key, item in found.items():
            yield from _walk(item, f"{path}[{key!r}]", seen)
    elif isinstance(found, (list, tuple)):
        for place, item in enumerate(found):
            yield from _walk(item, f"{path}[{place}]", seen)
    elif _is_open(found):
        for name, item in vars(found).items():
            yield from _walk(item, f"{path}.{name}" if path else name, seen)


def _is_open(found: Any) -> bool:
    """Whether an object is a cache of somebody's, to look into; a module, a class or a setting is not."""
    if isinstance(found, (nn.Module, type)) or callable(found) or not hasattr(found, "__dict__"):
        return False
    return "cache" in type(found).__name__.lower() or "layer" in type(found).__name__.lower()


def module_tensors(module: nn.Module) -> dict[str, Tensor]:
    """Tensors that submodules hold in plain attributes, by path; parameters and buffers are left out."""
    return {
        f"{path}.{name}" if path else name: item
        for path, child in module.named_modules()
        for name, item in vars(child).items()
        if isinstance(item, Tensor)
    }


def set_module_tensors(module: nn.Module, values: Mapping[str, Any]) -> None:
    """Put values into plain attributes of submodules."""
    for path, value in values.items():
        owner, _, name = path.rpartition(".")
        vars(module.get_submodule(owner))[name] = value
