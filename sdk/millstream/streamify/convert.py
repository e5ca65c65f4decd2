"""From a module and example frames to a streamed module, or to everything that stands in its way."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import fx, nn

from millstream.errors import TraceFailed
from millstream.sequences import Example, Sequences, sequences
from millstream.streamify.operators.local import local
from millstream.streamify.planner import Planner, Withheld, block_of
from millstream.streamify.refusal import Refusal, Uneven, refused
from millstream.streamify.rules import RULES
from millstream.streamify.streamed import Output, Program, Streamed
from millstream.streamify.timing import Series, Summary, Unknown
from millstream.streamify.tracing import Traces, traced, units
from millstream.streamify.whole import own_function


def streamify(
    module: nn.Module, example: Example, *, time_axis: int = 1, window: int | None = None
) -> Streamed:
    """Make `module`, written for whole sequences, step through them one frame at a time.

    Args:
        module: takes one tensor with a batch in front, and gives a tensor or several. It is copied.
        example: real frames as `forward` takes them, (N, T, ...), or a list of sequences (T, ...) when time
            is axis 1.
        time_axis: the axis of time of that input; 2 (or -1) for (N, channels, T).
        window: how many frames attention keeps that would see all earlier ones. The sequence form is
            banded in the same way.

    Returns a module with `step`, `initial_state` and `look_ahead`, ready for `millstream.export` with
    `frames_of` the same example.

    Raises NotCausal with every operator that needs the whole sequence, where it stands and what would make it
    causal; TraceFailed, MutatedBuffer.
    """
    array = _array(example, time_axis)
    axis = time_axis % array.ndim
    planner = _planned(module, array, axis, window)
    outputs = _outputs(planner)
    if planner.refusals:
        raise refused(planner.refusals)
    return _built(copy.deepcopy(module).eval().requires_grad_(False), planner, outputs, axis, array)


def frames_of(streamed: Streamed, example: Example, time_axis: int = 1) -> Sequences:
    """The example as the streamed module takes it: sequences (T, ...), or (T, block, ...).

    Frames that do not fill a block are left out; the label of a block is that of its last frame. Raises
    DataInvalid when none is left.
    """
    if isinstance(example, Sequences):
        items, labels = example.frames, example.labels
    else:
        items, labels = _items(example, time_axis), np.empty(0, np.int64)
    block = streamed.block
    if block > 1:
        items = [x[: len(x) // block * block].reshape(-1, block, *x.shape[1:]) for x in items]
        labels = labels[:, block - 1 :: block] if labels.ndim == 2 else labels
    return Sequences(tuple(np.ascontiguousarray(x) for x in items), labels)


def _items(example: Example, time_axis: int) -> list[np.ndarray]:
    """Sequences with time in front."""
    if isinstance(example, (list, tuple)):
        return list(sequences(example).frames)
    array = _array(example, time_axis)
    return list(np.moveaxis(array, time_axis, 1))


def _array(example: Example, time_axis: int) -> np.ndarray:
    """The example as one array (N, ...) as forward takes it; of a list, its longest sequence."""
    if isinstance(example, Sequences):
        example = list(example.frames)
    if isinstance(example, (list, tuple)):
        longest = max(sequences(example).frames, key=len)[None]
        return np.moveaxis(longest, 1, time_axis)
    detach = getattr(example, "detach", None)
    return np.asarray(detach().cpu().numpy() if detach else example)


def _planned(module: nn.Module, example: np.ndarray, axis: int, window: int | None) -> Planner:
    """The plan at the first lengths that all strides divide. Raises what tracing raises."""
    failed: TraceFailed | None = None
    for unit in units():
        try:
            traces = traced(module, example, axis, unit)
            planner = _planner(traces, window)
            planner.run(RULES, local)
        except TraceFailed as error:
            if failed is not None and failed.why == error.why:
                break
            failed = failed or error
            continue
        except Uneven:
            continue
        return planner
    if failed is not None:
        raise failed
    raise refused(
        [
            Refusal(
                "the lengths of its results",
                "",
                f"they do not grow evenly with the sequence, at any of the lengths tried ({units()})",
                "use strides and hops that divide one of them",
            )
        ]
    )


def _planner(traces: Traces, window: int | None) -> Planner:
    results = _values(traces.graphs[0], traces, traces.inputs[0])
    longer = _values(traces.graphs[1], traces, traces.inputs[1])
    return Planner(traces, block_of(traces), window, results, longer)


def _values(graph: fx.Graph, traces: Traces, x: torch.Tensor) -> dict[str, Any]:
    """Every value of a trace on the example, by the names of the first trace."""
    names = [node.name for node in traces.nodes]
    found: dict[str, Any] = {}
    places: dict[fx.Node, Any] = {}
    with torch.no_grad():
        for name, node in zip(names, graph.nodes, strict=True):
            if node.op == "placeholder":
                places[node] = traces.tensors.get(name, x)
            elif node.op == "call_function":
                args, kwargs = fx.map_arg((node.args, node.kwargs), places.__getitem__)
                places[node] = own_function(node.target)(*args, **kwargs)
            found[name] = places.get(node)
    return found


def _outputs(planner: Planner) -> tuple[Output, ...]:
    """The results of the module, each a series or a summary; others are refused."""
    found = []
    for name in planner.traces.outputs:
        kind = planner.kinds.get(name)
        if isinstance(kind, Unknown):
            continue
        if isinstance(kind, Withheld):
            planner.refusals.append(Refusal("a result", name, kind.why, kind.fix))
        elif not isinstance(kind, (Series, Summary)) or (isinstance(kind, Series) and kind.clock):
            planner.refusals.append(
                Refusal("a result", name, "it does not depend on the frames", "leave it out of the results")
            )
        else:
            found.append(Output(name, kind, 0))
    return tuple(found)


def _built(
    module: nn.Module, planner: Planner, outputs: tuple[Output, ...], axis: int, example: np.ndarray
) -> Streamed:
    """Align the results to whole blocks and put the step together."""
    series = [out.kind for out in outputs if isinstance(out.kind, Series)]
    look_ahead = max([0, *(-(-kind.delay // kind.count) for kind in series)])
    silence = max([0, *(-(kind.offset // kind.count) for kind in series)])
    waiting = []
    for out in outputs:
        if isinstance(out.kind, Summary):
            value = planner.results[out.name]
            sizes = [size for axis, size in enumerate(value.shape) if axis != out.kind.batch]
            if look_ahead:
                line = torch.zeros([1, look_ahead, *sizes], dtype=value.dtype)
                planner.remember(f"{out.name}.wait", line)
            waiting.append(replace(out, wait=look_ahead))
            continue
        wait = look_ahead * out.kind.count - out.kind.delay
        planner.ring(f"{out.name}.wait", out.name, out.kind, wait)
        waiting.append(replace(out, wait=wait))
    kinds = [k for kind in planner.kinds.values() for k in (kind if isinstance(kind, tuple) else (kind,))]
    early = [-(k.delay // k.count) for k in kinds if isinstance(k, Series) and k.delay < 0]
    frame = tuple(size for i, size in enumerate(example.shape) if i not in (0, axis))
    source = next(
        n.name for n in planner.traces.nodes if n.op == "placeholder" and n.name not in planner.traces.tensors
    )
    program = Program(
        input=source,
        frame=(planner.block, *frame) if planner.block > 1 else frame,
        dtype=torch.tensor(example[:0]).dtype,
        operations=tuple(planner.operations),
        registers={name: register.value for name, register in planner.registers.items()},
        outputs=tuple(waiting),
        block=planner.block,
        time_axis=axis,
        look_ahead=look_ahead,
        silence=min(silence, look_ahead),
        lead=max([0, *early]),
        window=planner.window,
    )
    return Streamed(module, program, _held(planner))


def _held(planner: Planner) -> dict[str, Any]:
    """Parameters and buffers by their path in the module; other constants by value."""
    traces = planner.traces
    named = {name: traces.paths.get(name, value) for name, value in traces.tensors.items()}
    return {**named, **planner.constants}
