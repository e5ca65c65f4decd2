"""What reads what when a module runs on real frames, whatever Python stands between its layers.

Layers of torch that rewrites know are recorded as one call each, everything else operator by operator, below
autograd. So a sum, a view or a custom operator between two layers is seen, and a weight that is read past
its own layer as well.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.dropout import _DropoutNd
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from millstream.reparameterize.layers import ChannelAffine
from millstream_models.foldable import IdleFeedForward, ProgressiveNorm

LINEAR = (nn.Linear, _ConvNd)
BATCH_NORM = (_BatchNorm, ChannelAffine)
_LEAVES = (*LINEAR, *BATCH_NORM, nn.LayerNorm, nn.RMSNorm, nn.Embedding, ProgressiveNorm, IdleFeedForward)
NOTHING = (nn.Identity, _DropoutNd)

#: Operators that move numbers without changing them.
_MOVES = frozenset(
    "transpose permute t view _unsafe_view reshape unsqueeze squeeze expand clone contiguous alias detach"
    " flatten _to_copy".split()
)

#: Operators whose result does not depend on the values that they are given.
_MAKES = frozenset("zeros new_zeros zeros_like full new_full full_like scalar_tensor lift_fresh_copy".split())

#: Operators that move numbers and may put zeros beside them: what is scaled before them is scaled after.
_MOVES_BESIDE_ZEROS = _MOVES | frozenset("constant_pad_nd cat stack slice select where copy_".split())


@dataclass(frozen=True)
class Call:
    """One call of a layer, or of an operator where `module` is None; values go by number."""

    name: str
    module: nn.Module | None
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass
class Flow:
    """The calls of one or several runs of `root`, in order.

    `results` are values that leave it, `zeros` those that hold nothing else, `flags` those of bool, `stored`
    parameters and buffers that are read past their layers, by name; `bare` are their identities. States do
    not leave: what one tick returns the next one reads.
    """

    root: nn.Module
    calls: list[Call] = field(default_factory=list)
    blocks: list[Call] = field(default_factory=list)
    results: set[int] = field(default_factory=set)
    zeros: set[int] = field(default_factory=set)
    flags: set[int] = field(default_factory=set)
    shapes: dict[int, tuple[int, ...]] = field(default_factory=dict)
    bare: set[int] = field(default_factory=set)
    stored: dict[int, str] = field(default_factory=dict)
    _reading: dict[int, list[Call]] = field(default_factory=lambda: defaultdict(list))
    _writing: dict[int, Call] = field(default_factory=dict)

    def add(self, call: Call) -> None:
        """Record one more call."""
        self.calls.append(call)
        for value in call.inputs:
            self._reading[value].append(call)
        for value in call.outputs:
            if value not in call.inputs:
                self._writing[value] = call

    def path(self, module: nn.Module) -> str:
        """The first path of a submodule."""
        return next(path for path, found in self.root.named_modules() if found is module)

    def calls_of(self, module: nn.Module) -> list[Call]:
        """Every call of a layer."""
        return [call for call in self.calls if call.module is module]

    def readers(self, value: int, beside_zeros: bool = False) -> tuple[list[Call], bool]:
        """The calls that read a value, moves of it followed; and whether it leaves the module.

        With `beside_zeros`, moves are followed that pad with zeros, or join it to other numbers.
        """
        moves = _MOVES_BESIDE_ZEROS if beside_zeros else _MOVES
        found: list[Call] = []
        leaves, seen, waiting = False, {value}, [value]
        while waiting:
            value = waiting.pop()
            leaves = leaves or value in self.results
            for call in self._reading[value]:
                if call.module is not None or call.name not in moves:
                    found.append(call)
                    continue
                waiting += [output for output in call.outputs if output not in seen]
                seen.update(call.outputs)
        return found, leaves

    def writing(self, value: int) -> Call | None:
        """The call that computed a value."""
        return self._writing.get(value)

    def writer(self, value: int) -> Call | None:
        """The call that computed a value, moves followed back; None for an input of the module."""
        call = self._writing.get(value)
        while call is not None and call.module is None and call.name in _MOVES:
            call = self._writing.get(call.inputs[0])
        return call

    def writers(self, value: int) -> list[Call | None]:
        """The calls whose results, and zeros, a value is put together from; None for an input."""
        found: list[Call | None] = []
        seen, waiting = {value}, [value]
        while waiting:
            value = waiting.pop()
            call = self._writing.get(value)
            if value in self.zeros | self.flags:
                continue
            if call is None or call.module is not None or call.name not in _MOVES_BESIDE_ZEROS:
                found.append(call)
                continue
            waiting += [name for name in call.inputs if name not in seen]
            seen.update(call.inputs)
        return found

    def name(self, call: Call | None) -> str:
        """What people know a call by."""
        if call is None:
            return "the input of the module"
        return shown(self.path(call.module)) if call.module is not None else f"operator {call.name}"

    def names(self, calls: Iterable[Call | None]) -> str:
        """The names of several calls, each once."""
        return ", ".join(dict.fromkeys(map(self.name, calls)))

    def layers(self, kinds: tuple[type, ...]) -> Iterator[tuple[str, Any]]:
        """Layers of these kinds that were called, by path."""
        called = {id(call.module) for call in self.calls if call.module is not None}
        for path, module in self.root.named_modules():
            if isinstance(module, kinds) and id(module) in called:
                yield path, module

    def not_its_own(self, layer: nn.Module) -> str:
        """Why the parameters of a layer may not be changed for this layer alone; empty when they may."""
        own = {id(parameter) for parameter in layer.parameters(recurse=False)}
        for path, module in self.root.named_modules():
            if module is not layer and own & {id(p) for p in module.parameters(recurse=False)}:
                return f"its weights are shared with {shown(path)}"
        if own & self.bare:
            return "its weights are also read past the layer"
        return ""


def is_layer(module: nn.Module) -> bool:
    """Whether a module is recorded as one call."""
    return isinstance(module, (*_LEAVES, *NOTHING))


def shown(path: str) -> str:
    """A path as people read it: without the holder that the whole module stands in."""
    return path.removeprefix("model").removeprefix(".") or "the module itself"


def record(root: nn.Module, run: Callable[[Callable[[object], None]], None]) -> Flow:
    """Run `root` by `run`, which hands everything that the module returns to its argument."""
    flow = Flow(root)
    recorder = _Recorder(flow)
    hooks = [handle for module in root.modules() for handle in recorder.hooks(module)]
    try:
        with torch.no_grad(), recorder:
            run(recorder.leave)
    finally:
        for handle in hooks:
            handle.remove()
    return flow


class _Recorder(TorchDispatchMode):
    """Numbers every tensor by its identity; keeps all alive, as a freed one would lend its identity."""

    def __init__(self, flow: Flow) -> None:
        super().__init__()
        self._flow = flow
        self._numbers: dict[int, int] = {}
        self._kept: list[Tensor] = []
        self._inside = 0
        tensors = (*flow.root.named_parameters(), *flow.root.named_buffers())
        self._stored = {id(tensor): name for name, tensor in tensors}

    def leave(self, result: object) -> None:
        """Mark every tensor of a result as leaving the module."""
        self._flow.results.update(self._all(result))

    def hooks(self, module: nn.Module) -> list[Any]:
        """Hooks that record the calls of one module."""
        if is_layer(module):
            return [
                module.register_forward_pre_hook(self._enter),
                module.register_forward_hook(self._exit, always_call=True),
            ]
        return [module.register_forward_hook(self._block)]

    def _enter(self, module: nn.Module, inputs: object) -> None:
        self._inside += 1

    def _exit(self, module: nn.Module, inputs: object, result: object) -> None:
        self._inside -= 1
        if self._inside:
            return
        if isinstance(module, NOTHING):
            self._alias(inputs, result)
        else:
            self._flow.add(self._call(type(module).__name__, module, inputs, result))

    def _block(self, module: nn.Module, inputs: object, result: object) -> None:
        if not self._inside:
            self._flow.blocks.append(self._call(type(module).__name__, module, inputs, result))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if not self._inside:
            operands = [item for item in tree_leaves((args, kwargs)) if isinstance(item, Tensor)]
            self._flow.bare.update(id(item) for item in operands if id(item) in self._stored)
            call = self._call(_name(func.overloadpacket.__name__, args), None, operands, result)
            self._flow.add(call)
            if call.name in _MAKES and isinstance(result, Tensor) and not result.any():
                self._flow.zeros.update(call.outputs)
        return result

    def _call(self, name: str, module: nn.Module | None, inputs: object, result: object) -> Call:
        return Call(name, module, self._all(inputs), self._all(result))

    def _alias(self, inputs: object, result: object) -> None:
        (before,) = (item for item in tree_leaves(inputs) if isinstance(item, Tensor))
        (after,) = (item for item in tree_leaves(result) if isinstance(item, Tensor))
        self._numbers[id(after)] = self._number(before)
        self._kept.append(after)

    def _all(self, values: object) -> tuple[int, ...]:
        return tuple(self._number(item) for item in tree_leaves(values) if isinstance(item, Tensor))

    def _number(self, value: Tensor) -> int:
        if id(value) not in self._numbers:
            self._numbers[id(value)] = len(self._kept)
            self._kept.append(value)
            self._describe(self._numbers[id(value)], value)
        return self._numbers[id(value)]

    def _describe(self, number: int, value: Tensor) -> None:
        self._flow.shapes[number] = tuple(value.shape)
        if id(value) in self._stored:
            self._flow.stored[number] = self._stored[id(value)]
        if value.dtype == torch.bool:
            self._flow.flags.add(number)


def _name(operator: str, args: Any) -> str:
    """The operator; one that puts a number other than zero beside what it moves has another name."""
    number = {"where": args[1:3], "constant_pad_nd": args[2:3]}.get(operator, ())
    beside = any(isinstance(each, (int, float)) and each != 0 for each in number)
    return f"{operator} with a number" if beside else operator
