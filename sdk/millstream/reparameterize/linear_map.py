"""Layers that are one linear map of the same value become one layer.

Parallel branches: RepVGG's (k x k, 1 x 1 and identity, each with its norm), FMViT's dense beside grouped
1 x 1. Chains: ZeroI2V's adapters x + s U D x before or after a layer, LoRA's W x + s B A x, a linear layer
behind another. Whatever Python writes them, they are traced, and each value is held as a weight and a bias
of the value that it comes from, in float64; sums, scales, norms and layers act on those (`map`).

Needs: a module that torch.fx can trace and that has no `step`; plain convolutions that are centred on each
other; no bias in front of zero padding. Gives: one layer, kept where it is the smaller one.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from millstream.errors import NotStreamable
from millstream.reparameterize.batch_norm import Affine, affine_of, not_fixed
from millstream.reparameterize.candidate import Candidate, part, put
from millstream.reparameterize.flow import BATCH_NORM, LINEAR, NOTHING, Flow, is_layer, shown
from millstream.reparameterize.layers import SplitFeedForward
from millstream.reparameterize.map import Map, NoMap, add, affine, compose, layer_of, of_layer, scaled
from millstream.user_code import guarded, reason
from millstream_runtime.errors import MillstreamError

_ADD = (operator.add, operator.iadd, torch.add, "add", "add_")
_SUBTRACT = (operator.sub, operator.isub, torch.sub, "sub")
_MULTIPLY = (operator.mul, operator.imul, torch.mul, "mul", "mul_")
_MATMUL = (operator.matmul, torch.matmul, "matmul")
_NEGATE = (operator.neg, torch.neg, "neg")


def linear_map(root: nn.Module, flow: Flow) -> Iterable[Candidate]:
    """Every value inside a traced module that several layers compute as one linear map.

    Inner modules come first; a value that only leaves its module waits for what is around it to join. Where
    a whole chain becomes no smaller, its links are offered too, as a low-rank pair may hold one that
    merges.
    """
    called = {id(call.module) for call in flow.blocks}
    traced = [
        (path, module, graph)
        for path, module in reversed(list(root.named_modules()))
        if id(module) in called and not hasattr(module, "step") and (graph := _traced(module)) is not None
    ]
    seen: set[str] = set()
    for inside, short in ((True, False), (False, False), (True, True), (False, True)):
        for path, module, graph in traced:
            for candidate in _of_module(path, module, graph, inside, short):
                if candidate.where not in seen:
                    seen.add(candidate.where)
                    yield candidate


@dataclass(frozen=True)
class _Value:
    """A value of the trace: a map of another one, `source`."""

    source: fx.Node
    map: Map


def _of_module(
    path: str, module: nn.Module, graph: fx.Graph, inside: bool, short: bool
) -> Iterator[Candidate]:
    maps = _Maps(module, graph, short)
    for node, value in maps.values.items():
        if len(value.map.parts) < 2 or not value.map.layered or maps.ends(node) != (True, inside):
            continue
        yield Candidate(_where(path, value.map.parts), _Merge(path, node.name, short))
    for parts, why in maps.apart:
        yield Candidate(_where(path, parts), why=why)


def _where(path: str, parts: Iterable[str]) -> str:
    return " + ".join(shown(f"{path}.{part}") for part in parts)


@dataclass(frozen=True)
class _Merge:
    """Replaces one value of one traced module by one layer."""

    path: str
    node: str
    short: bool

    def __call__(self, root: nn.Module) -> None:
        module = part(root, self.path)
        graph = _traced(module)
        if graph is None:
            raise NoMap("the module cannot be traced any more")
        value = next(v for n, v in _Maps(module, graph, self.short).values.items() if n.name == self.node)
        node = next(n for n in graph.nodes if n.name == self.node)
        merged = fx.GraphModule(module, graph)
        name = f"{value.map.parts[0].replace('.', '_').removesuffix('_merged')}_merged"
        merged.add_submodule(name, layer_of(value.map, next(module.parameters()).dtype))
        with merged.graph.inserting_after(node):
            new = merged.graph.call_module(name, (value.source,))
        node.replace_all_uses_with(new)
        merged.graph.eliminate_dead_code()
        merged.delete_all_unused_submodules()
        merged.recompile()
        put(root, self.path, merged)


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        known = is_layer(m) or isinstance(m, SplitFeedForward)
        return known or super().is_leaf_module(m, module_qualified_name)


def _traced(module: nn.Module) -> fx.Graph | None:
    """The module's forward as a graph; None where Python decides on values, which is no near miss."""
    try:
        return guarded(lambda: _Tracer().trace(module), lambda error: NotStreamable(reason(error)))
    except MillstreamError:  # a user's forward meets proxies, and may raise anything at all
        return None


class _Maps:
    """Every value of a traced module as a map of a value before it."""

    def __init__(self, module: nn.Module, graph: fx.Graph, short: bool) -> None:
        self._module, self._short = module, short
        self.values: dict[fx.Node, _Value] = {}
        self.constants: dict[fx.Node, Any] = {}
        #: Layers that are linear and yet not merged, and why.
        self.apart: list[tuple[tuple[str, ...], str]] = []
        for node in graph.nodes:
            if node.op == "output":
                continue
            if not self._constant(node):
                self.values[node] = self._value(node)

    def ends(self, node: fx.Node) -> tuple[bool, bool]:
        """Whether the value is part of no longer map for some reader, and whether one such is inside."""
        source = self.values[node].source
        readers = [u for u in node.users if u not in self.values or self.values[u].source is not source]
        return bool(readers), any(user.op != "output" for user in readers)

    def _constant(self, node: fx.Node) -> bool:
        """Compute what depends on parameters alone, in float64; whether the node does."""
        if node.op == "get_attr":
            found = _attribute(self._module, str(node.target))
            if not isinstance(found, Tensor):
                return False
            self.constants[node] = found.detach().double() if found.is_floating_point() else found.detach()
            return True
        if node.op not in ("call_function", "call_method") or not node.all_input_nodes:
            return False
        if any(each not in self.constants for each in node.all_input_nodes):
            return False
        args = fx.map_arg(node.args, lambda n: self.constants[n])
        kwargs = fx.map_arg(node.kwargs, lambda n: self.constants[n])
        if node.op == "call_method":
            owner, *rest = args
            self.constants[node] = getattr(owner, str(node.target))(*rest, **kwargs)
        else:
            function: Any = node.target
            self.constants[node] = function(*args, **kwargs)
        return True

    def _value(self, node: fx.Node) -> _Value:
        """The node as a map of an earlier value, or of itself where it is not linear."""
        try:
            return self._linear(node) or _Value(node, Map())
        except NoMap as refusal:
            joining = [self.values[each].map for each in node.all_input_nodes if each in self.values]
            parts = tuple(dict.fromkeys(part for each in joining for part in each.parts))
            if any(each.layered for each in joining):
                own = (str(node.target),) if node.op == "call_module" else ()
                self.apart.append(((*parts, *own), str(refusal)))
            return self._alone(node)

    def _alone(self, node: fx.Node) -> _Value:
        """A layer as a map of what it reads directly, so that what follows may still join it."""
        if node.op == "call_module" and isinstance(layer := self._layer(node), LINEAR):
            try:
                return _Value(_operand(node), of_layer(layer).made_of(str(node.target)))
            except NoMap:
                pass
        return _Value(node, Map())

    def _layer(self, node: fx.Node) -> nn.Module:
        return self._module.get_submodule(str(node.target))

    def _linear(self, node: fx.Node) -> _Value | None:
        """None where the node is no linear operation. Raises NoMap where it is one that cannot join."""
        if node.op == "call_module":
            return self._of_layer(node)
        if node.op not in ("call_function", "call_method"):
            return None
        if node.target is functional.linear:
            return self._functional_linear(node)
        if len(node.args) == 1 and node.target in _NEGATE:
            return self._scaled(node.args[0], -1.0)
        if len(node.args) != 2 or node.kwargs:
            return None
        a, b = node.args
        if node.target in _ADD:
            return self._sum(a, b)
        if node.target in _SUBTRACT:
            negative = self._scaled(b, -1.0)
            return self._sum_of(self.values.get(a), negative) if isinstance(a, fx.Node) else None
        if node.target in _MULTIPLY:
            return self._product(a, b)
        if node.target in _MATMUL and b in self.constants and a in self.values:
            weight = self.constants[b]
            return self._through(self.values[a], weight.T, None, _names(b)) if weight.dim() == 2 else None
        return None

    def _of_layer(self, node: fx.Node) -> _Value | None:
        layer, path = self._layer(node), str(node.target)
        if isinstance(layer, NOTHING):
            return self.values[_operand(node)]
        if isinstance(layer, BATCH_NORM):
            before = self.values[_operand(node)]
            if not_fixed(layer):
                return None
            return replace(before, map=affine(before.map, affine_of(layer)).made_of(path))
        if not isinstance(layer, LINEAR):
            return None
        before = self.values[_operand(node)]
        return self._composed(_operand(node), before, of_layer(layer).made_of(path))

    def _composed(self, node: fx.Node, before: _Value, after: Map) -> _Value:
        """after(before); or after of the node itself, where two factors are the smaller ones and may stay."""
        together = compose(before.map, after)
        if self._short and before.map.layered and _size(together) > _size(before.map) + _size(after):
            return _Value(node, after)
        return replace(before, map=together)

    def _functional_linear(self, node: fx.Node) -> _Value | None:
        x, weight, *rest = (*node.args, *node.kwargs.values())
        bias = rest[0] if rest else None
        if (
            x not in self.values
            or weight not in self.constants
            or (bias is not None and bias not in self.constants)
        ):
            return None
        parts = (*_names(weight), *(_names(bias) if bias is not None else ()))
        made = self.constants[bias] if bias is not None else None
        return self._through(self.values[x], self.constants[weight], made, parts)

    def _through(self, before: _Value, weight: Tensor, bias: Tensor | None, parts: tuple[str, ...]) -> _Value:
        after = Map(weight, bias, groups=1, layered=True).made_of(*parts)
        return replace(before, map=compose(before.map, after))

    def _sum(self, a: Any, b: Any) -> _Value | None:
        values = [self.values[each] for each in (a, b) if isinstance(each, fx.Node) and each in self.values]
        if len(values) == 2:
            return self._sum_of(*values)
        (constant,) = (each for each in (a, b) if not (isinstance(each, fx.Node) and each in self.values))
        number = self._number(constant)
        if number is None or not values:
            return None
        if number.numel() == 1 and float(number) == 0:
            return values[0]  # Python's sum() starts with it
        channels = _channels(values[0].map, number)
        shift = Affine(torch.ones_like(channels), channels)
        return replace(values[0], map=affine(values[0].map, shift).made_of(*_names(constant)))

    def _sum_of(self, a: _Value | None, b: _Value | None) -> _Value | None:
        if a is None or b is None or a.source is not b.source:
            return None
        return replace(a, map=add(a.map, b.map))

    def _product(self, a: Any, b: Any) -> _Value | None:
        values = [each for each in (a, b) if isinstance(each, fx.Node) and each in self.values]
        if len(values) != 1:
            return None
        constant = b if values[0] is a else a
        number = self._number(constant)
        if number is None:
            return None
        if number.numel() == 1:
            return self._scaled(values[0], float(number))
        value = self.values[values[0]]
        scale = _channels(value.map, number)
        made = affine(value.map, Affine(scale, torch.zeros_like(scale)))
        return replace(value, map=made.made_of(*_names(constant)))

    def _scaled(self, node: Any, factor: float) -> _Value | None:
        value = self.values.get(node) if isinstance(node, fx.Node) else None
        return None if value is None else replace(value, map=scaled(value.map, factor))

    def _number(self, constant: Any) -> Tensor | None:
        if isinstance(constant, (int, float)) and not isinstance(constant, bool):
            return torch.tensor(constant, dtype=torch.float64)
        found = self.constants.get(constant) if isinstance(constant, fx.Node) else None
        return found if isinstance(found, Tensor) and found.is_floating_point() else None


def _operand(node: fx.Node) -> fx.Node:
    return node.all_input_nodes[0]


def _names(node: Any) -> tuple[str, ...]:
    """The parameters that a constant is made of."""
    if not isinstance(node, fx.Node):
        return ()
    if node.op == "get_attr":
        return (str(node.target),)
    return tuple(name for each in node.all_input_nodes for name in _names(each))


def _attribute(module: nn.Module, path: str) -> object:
    owner, _, name = path.rpartition(".")
    return getattr(module.get_submodule(owner), name)


def _size(found: Map) -> int:
    """Numbers in the weight, by which a chain is judged."""
    return 0 if found.weight is None else found.weight.numel() // max(found.groups, 1)


def _channels(before: Map, number: Tensor) -> Tensor:
    """A constant that is broadcast over all but the channels as (C,). Raises NoMap."""
    if number.numel() == 1:
        if before.weight is None:
            raise NoMap("a number is added to a value of unknown width")
        return number.flatten().expand(before.weight.shape[0])
    axis = number.dim() - 1 - before.dims
    if axis < 0 or number.numel() != number.shape[axis]:
        raise NoMap("a constant that differs from place to place is added or multiplied")
    return number.flatten()
