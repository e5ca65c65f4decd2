"""The model protocol: what makes an `nn.Module` streamable, checked on the module itself.

A streamable module has

    forward(x: (B, T, ...)) -> (B, T, ...)          the whole sequence, as it was trained
    step(x: (B, ...), state) -> (y, state)          one frame; state maps names to (B, ...) tensors
    initial_state(batch) -> state

and may have an integer attribute `look_ahead`: then `step(x, state, valid)` takes one boolean per
stream, True for a real frame and False for a draining tick after the last one, and what it returns at
tick t belongs to frame t - look_ahead. A module with no `step` is a stateless step: `forward(x: (B, ...))`.
Nothing needs to be inherited.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from millstream.errors import MutatedBuffer, NotStreamable
from millstream.user_code import guarded, reason

INPUT, OUTPUT, VALID = "input", "output", "valid"

State = Mapping[str, Tensor]


@dataclass(frozen=True)
class Streamable:
    """A module that keeps the protocol, in evaluation mode, with its facts read once.

    `initial` holds each state for batch 1, on the CPU.
    """

    module: nn.Module
    stateful: bool
    look_ahead: int
    initial: Mapping[str, Tensor]

    def step(self, x: Tensor, state: State, valid: bool) -> tuple[tuple[Tensor, ...], State]:
        """One frame (B, ...) through the module; outputs as a tuple. `state` is left as it was."""
        if not self.stateful:
            return outputs_of(self.module(x)), {}
        own = {name: value.clone() for name, value in state.items()}
        if self.look_ahead:
            flags = torch.full((x.shape[0],), valid, dtype=torch.bool)
            y, after = self.module.step(x, own, flags)  # type: ignore[operator]
        else:
            y, after = self.module.step(x, own)  # type: ignore[operator]
        return outputs_of(y), {name: after[name] for name in self.initial}

    def initial_state(self, batch: int) -> State:
        """The initial state of `batch` streams."""
        return dict(self.module.initial_state(batch)) if self.stateful else {}  # type: ignore[operator]


def outputs_of(y: object) -> tuple[Tensor, ...]:
    """A model's result as a tuple of tensors. Raises NotStreamable for anything else."""
    items = y if isinstance(y, (tuple, list)) else (y,)
    found = tuple(item for item in items if isinstance(item, Tensor))
    if not found or len(found) < len(items):
        raise NotStreamable(
            "the model returns something that is no tensor",
            why=f"it returned {type(y).__name__}",
            fix="return a tensor, or a tuple of tensors",
        )
    return found


def streamable(module: nn.Module, frame: Tensor) -> Streamable:
    """Check the protocol and return the module's streaming facts.

    The module is copied and put in evaluation mode; the caller's is left alone. `frame` is one real
    frame (1, ...) to try the step on. Raises NotStreamable, or MutatedBuffer when the step keeps
    state in the module itself.
    """
    module = copy.deepcopy(module).eval().requires_grad_(False)
    _check_cpu(module)
    stateful = callable(getattr(module, "step", None))
    look_ahead = _look_ahead(module)
    if not stateful and look_ahead:
        raise NotStreamable("look_ahead without a step", fix="write step(x, state, valid)")
    initial = _initial_state(module) if stateful else {}
    found = Streamable(module, stateful, look_ahead, initial)

    def trial() -> None:
        with torch.no_grad():
            _try_step(found, frame)
            _check_no_hidden_state(found, frame)

    guarded(trial, lambda error: _raised(error, frame))
    return found


def _raised(error: Exception, frame: Tensor) -> NotStreamable:
    return NotStreamable(
        f"the model raised on a frame of shape {tuple(frame.shape)}, {frame.dtype}",
        why=reason(error),
        fix="the example must hold the frames that the model takes; see `millstream export --help`",
    )


def _check_cpu(module: nn.Module) -> None:
    for name, value in (*module.named_parameters(), *module.named_buffers()):
        if value.device.type != "cpu":
            raise NotStreamable(
                f"{name} is on {value.device}", fix="move the model to the CPU before export: model.cpu()"
            )


def _look_ahead(module: nn.Module) -> int:
    value = getattr(module, "look_ahead", 0)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise NotStreamable("look_ahead is no frame count", why=f"it is {value!r}", fix="use an int >= 0")
    return value


def _initial_state(module: nn.Module) -> dict[str, Tensor]:
    """State of one stream, checked: flat, named, with a leading batch dimension, alike for every stream."""
    make: Callable[[int], Mapping[str, Tensor]] | None = getattr(module, "initial_state", None)
    if make is None or not callable(make):
        raise NotStreamable("step without initial_state", fix="write initial_state(batch) -> state")
    one, two = make(1), make(2)
    for state in (one, two):
        if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
            raise NotStreamable(
                "initial_state returns no flat mapping of names to tensors",
                why=f"it returned {type(state).__name__}",
                fix="return a dict such as {'hidden': torch.zeros(batch, 64)}",
            )
    if set(one) != set(two):
        raise NotStreamable("initial_state gives other names for another batch size")
    for name, value in one.items():
        _check_state(name, value, two[name])
    return {str(name): value.detach().clone() for name, value in one.items()}


def _check_state(name: str, one: Tensor, two: Tensor) -> None:
    where = f"state {name}"
    if name in (INPUT, OUTPUT, VALID):
        raise NotStreamable(
            f"a state may not be called {name!r}",
            where=where,
            why="that names an input or output of the graph",
        )
    if one.shape != (1, *two.shape[1:]) or two.shape[:1] != (2,):
        raise NotStreamable(
            "no leading batch dimension",
            where=where,
            why=f"shapes {tuple(one.shape)} for batch 1 and {tuple(two.shape)} for batch 2",
            fix="make the first dimension of every state the batch",
        )
    if one.dtype != two.dtype or not all(torch.equal(one[0], row) for row in two):
        raise NotStreamable(
            "the initial value differs from stream to stream", where=where, fix="start all streams alike"
        )


def _try_step(found: Streamable, frame: Tensor) -> None:
    if not found.stateful:
        outputs_of(found.module(frame))
        return
    parameters = inspect.signature(found.module.step).parameters  # type: ignore[arg-type]
    wanted = 3 if found.look_ahead else 2
    if len(parameters) < wanted:
        shape = "step(x, state, valid)" if found.look_ahead else "step(x, state)"
        raise NotStreamable(f"step takes {len(parameters)} arguments", fix=f"write it as {shape}")
    result = found.module.step(  # type: ignore[operator]
        frame, found.initial_state(1), *([torch.ones(1, dtype=torch.bool)] if found.look_ahead else [])
    )
    if not isinstance(result, tuple) or len(result) != 2 or not isinstance(result[1], Mapping):
        raise NotStreamable("step returns no (y, state) pair", why=f"it returned {type(result).__name__}")
    _check_next_state(found.initial, result[1])


def _check_next_state(before: State, after: State) -> None:
    missing, extra = set(before) - set(after), set(after) - set(before)
    if missing or extra:
        raise NotStreamable(
            "step returns other states than initial_state gives",
            why=f"missing: {sorted(missing) or 'none'}, extra: {sorted(extra) or 'none'}",
        )
    for name, value in before.items():
        if (after[name].shape, after[name].dtype) != (value.shape, value.dtype):
            raise NotStreamable(
                "a state changes its shape or dtype in a step",
                where=f"state {name}",
                why=f"{value.dtype} {tuple(value.shape)} becomes "
                f"{after[name].dtype} {tuple(after[name].shape)}",
                fix="keep states at a fixed shape and dtype; a growing cache needs a bounded ring",
            )


def _check_no_hidden_state(found: Streamable, frame: Tensor) -> None:
    """Run the step again (the trial before it has filled caches) and see whether the module changed."""
    before = attributes_of(found.module)
    found.step(frame, found.initial_state(1), valid=True)
    after = attributes_of(found.module)
    changed = sorted(
        name for name in {*before, *after} if not same_attribute(before.get(name), after.get(name))
    )
    if changed:
        raise refused_mutation(changed)


def refused_mutation(names: list[str]) -> MutatedBuffer:
    """The error for state that a step keeps in the module."""
    return MutatedBuffer(
        f"step changes {', '.join(names)} of the module",
        where=", ".join(names),
        why="a deployed step is a pure function; what it keeps in the module would be frozen or lost",
        fix="return it as state: add it to initial_state(batch), read it from `state`, return its new value",
    )


_PLAIN = (bool, int, float, str, type(None))


def attributes_of(module: nn.Module) -> dict[str, object]:
    """Every buffer, parameter, tensor attribute and plain attribute of the module tree, tensors copied."""
    found: dict[str, object] = {}
    for path, child in module.named_modules():
        own = {**vars(child), **child._parameters, **child._buffers}
        for name, value in own.items():
            full = f"{path}.{name}" if path else name
            if isinstance(value, Tensor):
                found[full] = value.detach().clone()
            elif isinstance(value, _PLAIN):
                found[full] = value
            elif isinstance(value, (list, tuple, dict)) and not name.startswith("_"):
                found.update(_items(full, value))
    return found


def _items(path: str, values: list | tuple | dict) -> dict[str, object]:
    """Tensors and plain values held directly in a list, tuple or dict attribute."""
    pairs = values.items() if isinstance(values, dict) else enumerate(values)
    return {
        f"{path}[{key!r}]": value.detach().clone() if isinstance(value, Tensor) else value
        for key, value in pairs
        if isinstance(value, (Tensor, *_PLAIN))
    }


def same_attribute(a: object, b: object) -> bool:
    """Whether two values that `attributes_of` found are alike; NaN is like NaN."""
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.shape == b.shape and a.dtype == b.dtype and bool(torch.equal(a.nan_to_num(), b.nan_to_num()))
    return type(a) is type(b) and a == b
