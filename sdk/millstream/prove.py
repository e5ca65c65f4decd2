"""The rungs of the ladder: each function tries one claim on real frames and returns a Rung."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from millstream.ladder import Rung
from millstream.protocol import Streamable, outputs_of
from millstream.sequences import Sequences
from millstream_runtime.batched import STREAMS
from millstream_runtime.core import Core
from millstream_runtime.golden import Golden
from millstream_runtime.model import Model
from millstream_runtime.nonfinite import propagate
from millstream_runtime.pool import Pool
from millstream_runtime.registers import Registers
from millstream_runtime.replay import Difference, compare, poison, replay, worst
from millstream_runtime.spec import Tolerance
from millstream_runtime.stream import Result, Stream

#: The sequence form may sum in another order than the step form (FFT, chunks, prefix sums), so hundreds
#: of float32 roundings of 6e-8 meet.
SEQUENCE_TOLERANCE = Tolerance(1e-4, 1e-5, "parallel forms sum in another order than the step")

#: The reference accumulates in float64; torch in float32, in its own order.
GRAPH_TOLERANCE = Tolerance(1e-5, 1e-6, "torch sums in float32, the reference in float64")

_LENGTHS = (1, 2, 3, 5, 8, 13)
_CHUNKS = (1, 2, 3, 7)
#: A whole batch of the compiled step, and some streams that it takes alone.
_BATCH = STREAMS + 3
_DRIFT_STRIDE = 50
_PROVED_SEQUENCES = 16
_LONGEST_PROOF = 512


def torch_outputs(source: Streamable, frames: np.ndarray) -> tuple[np.ndarray, ...]:
    """Step form in torch over one sequence (T, ...): outputs (T, ...), look-ahead drained."""
    state, results = source.initial_state(1), []
    x = torch.tensor(frames)
    with torch.no_grad():
        for t in range(len(frames) + source.look_ahead):
            real = t < len(frames)
            frame = x[t : t + 1] if real else torch.zeros_like(x[:1])
            outputs, state = source.step(frame, state, valid=real)
            if t >= source.look_ahead:
                results.append([y[0].numpy() for y in outputs])
    return tuple(np.stack(column) for column in zip(*results, strict=True))


def sequence_outputs(source: Streamable, frames: np.ndarray) -> tuple[np.ndarray, ...]:
    """Sequence form in torch over one sequence (T, ...): outputs (T, ...)."""
    with torch.no_grad():
        return tuple(y[0].numpy() for y in outputs_of(source.module(torch.tensor(frames)[None])))


def sequence_equals_step(source: Streamable, data: Sequences, tolerance: Tolerance) -> Rung:
    """`forward` over whole sequences, cut to odd lengths as well, gives what stepping gives."""
    differences: list[Difference] = []
    cuts = 0
    for frames in data.frames[:_PROVED_SEQUENCES]:
        frames = frames[:_LONGEST_PROOF]
        lengths = {n for n in _LENGTHS if n < len(frames)} | {len(frames)}
        for length in sorted(lengths) if cuts == 0 else [len(frames)]:
            want = sequence_outputs(source, frames[:length])
            got = torch_outputs(source, frames[:length])
            differences += _compared(got, want, tolerance)
            cuts += 1
    detail = f"{cuts} sequences, lengths from 1 frame"
    return _rung("sequence form (torch) = step form (torch)", differences, detail)


def step_equals_graph(
    source: Streamable,
    reference: Core,
    frames: np.ndarray,
    tolerance: Tolerance,
    origin: str = "step form (torch)",
) -> Rung:
    """Every output and every state of the graph, at every tick, is what the step that it came from gives."""
    registers = Registers(reference, reference.spec.batch or 1)
    state, differences = source.initial_state(1), []
    x = torch.tensor(frames)
    ticks = len(frames) + source.look_ahead
    for t in range(ticks):
        real = t < len(frames)
        frame = x[t : t + 1] if real else torch.zeros_like(x[:1])
        with torch.no_grad():
            outputs, state = source.step(frame, state, valid=real)
        _feed(registers, frame.numpy(), real)
        registers.tick()
        want = [value.numpy() for value in (*outputs, *state.values())]
        differences += _compared((*registers.outputs, *registers.states), want, tolerance)
    detail = f"{ticks} ticks, every output and state"
    return _rung(f"{origin} = step.onnx (reference)", differences, detail)


def make_golden(reference: Core, frames: np.ndarray, drain: int) -> Golden:
    """Run frames (T, ...) and `drain` ticks after them through the reference, and keep what it gives."""
    registers = Registers(reference, reference.spec.batch or 1)
    inputs: list[tuple[np.ndarray, ...]] = []
    outputs: list[tuple[np.ndarray, ...]] = []
    for t in range(len(frames) + drain):
        real = t < len(frames)
        _feed(registers, frames[t] if real else np.zeros_like(frames[0]), real)
        registers.tick()
        inputs.append(tuple(array[0].copy() for array in registers.inputs))
        outputs.append(tuple(array[0].copy() for array in registers.outputs))
    return Golden(
        inputs=tuple(np.stack(column) for column in zip(*inputs, strict=True)),
        outputs=tuple(np.stack(column) for column in zip(*outputs, strict=True)),
        final_states=tuple(array[0].copy() for array in registers.states),
    )


def backend_equals_reference(model: Model, golden: Golden) -> Rung:
    """The golden sequence through a backend, every buffer poisoned before each tick."""
    result = replay(model.core, golden, model.target.tolerance)
    claim = f"step.onnx (reference) = {model.target.name}"
    return _rung(claim, result.differences, f"{result.ticks} golden ticks, outputs and final states")


def chunks_equal_frames(model: Model, frames: np.ndarray) -> Rung:
    """`push` in chunks of several lengths gives bit for bit what frame-by-frame stepping gives."""
    samples, frames = _samples(model.core, frames)
    want = stepped(model.core, frames)
    exact = Tolerance(0.0, 0.0, "the same step runs on the same frames")
    differences: list[Difference] = []
    lengths = (*_CHUNKS, len(samples))
    for length in lengths:
        differences += _compared(_pushed(model.core, samples, length), want, exact)
    claim = f"{model.target.name}: push in any chunks = step by step"
    return _rung(claim, differences, f"chunks of {', '.join(map(str, lengths))}")


def batch_equals_streams(model: Model, frames: np.ndarray) -> Rung:
    """Streams stepped together, each on its own frames, give what each gives alone."""
    shifted = [np.roll(frames, shift, axis=0) for shift in range(_BATCH)]
    with Pool(model.core, _BATCH, propagate) as pool:
        rows = []
        for t in range(len(frames)):
            result = pool.step(np.stack([own[t] for own in shifted]))
            rows.append(_copied(result))
    together = _stacked(rows)
    differences: list[Difference] = []
    warm = model.spec.look_ahead
    for row, own in enumerate(shifted):
        alone = stepped(model.core, own)
        got = [array[warm:, row] for array in together]
        differences += _compared(got, [array[: len(own) - warm] for array in alone], model.target.tolerance)
    claim = f"{model.target.name}: streams in one batch = streams alone"
    return _rung(claim, differences, f"{_BATCH} streams, {len(frames)} ticks")


def long_run(models: Sequence[Model], reference: Core, frames: np.ndarray, ticks: int) -> list[Rung]:
    """Frames repeated without reset: every state stays with the reference's. One rung per model."""
    theirs = Registers(reference, reference.spec.batch or 1)
    ours = [Registers(model.core, model.spec.batch or 1) for model in models]
    differences: list[list[Difference]] = [[] for _ in models]
    for t in range(ticks):
        for registers in (theirs, *ours):
            _feed(registers, frames[t % len(frames)], True)
            for buffer in (*registers.outputs, *registers.next_states):
                poison(buffer)
            registers.tick()
        if t == ticks - 1 or t % _DRIFT_STRIDE == 0:
            for model, registers, found in zip(models, ours, differences, strict=True):
                found += [
                    compare(s.name, got, want, model.target.tolerance, s.rounded)
                    for s, got, want in zip(model.spec.states, registers.states, theirs.states, strict=True)
                ]
    detail = f"{ticks} ticks without reset"
    return [
        _rung(f"{model.target.name}: no state drifts", found, detail)
        for model, found in zip(models, differences, strict=True)
    ]


def labelled_outputs_of_torch(source: Streamable, data: Sequences) -> np.ndarray:
    """The first output of torch behind every frame that has a label, (M, ...), from whole sequences."""
    whole = sequence_outputs if source.stateful else torch_outputs
    return where_labelled(lambda frames: whole(source, frames)[0], data)


def where_labelled(outputs: Callable[[np.ndarray], np.ndarray], data: Sequences) -> np.ndarray:
    """Of the outputs (T, ...) for each sequence those behind frames that have a label, (M, ...)."""
    rows = zip(data.frames, data.asked, strict=True)
    return np.concatenate([outputs(frames)[row[: len(frames)]] for frames, row in rows])


def same_predictions(name: str, wanted: np.ndarray, models: Sequence[Model], data: Sequences) -> Rung:
    """Each backend, streaming, gives the class that `wanted` (M, classes) gives: the outputs of `name` where
    `data` has labels.

    A prediction is the largest value of an output. Where the two largest values are closer than the
    backend's tolerance there is no right answer, and either counts.
    """
    classes, labels = wanted.argmax(1), data.answers
    parts, agree = [f"{name} {_percent(classes, labels)}"], True
    for model in models:
        found = where_labelled(lambda frames, core=model.core: stepped(core, frames)[0], data).argmax(1)
        decided = _margins(wanted) > 2 * _allowed(wanted, model.target.tolerance)
        agree = agree and bool((found == classes)[decided].all())
        parts.append(f"{model.target.name} {_percent(found, labels)}")
    return Rung(f"predictions agree on {data.questions}", agree, detail=", ".join(parts))


def _margins(outputs: np.ndarray) -> np.ndarray:
    """How far the largest value of each row stands above the second."""
    ordered = np.sort(outputs, axis=1)
    return ordered[:, -1] - ordered[:, -2] if outputs.shape[1] > 1 else np.full(len(outputs), np.inf)


def _allowed(outputs: np.ndarray, tolerance: Tolerance) -> float:
    return tolerance.absolute + tolerance.relative * float(np.abs(outputs).max())


def _percent(found: np.ndarray, labels: np.ndarray) -> str:
    return f"{100 * float((found == labels).mean()):.2f} %"


def stepped(core: Core, frames: np.ndarray) -> tuple[np.ndarray, ...]:
    """Outputs (T, ...) of a stream that takes the frames one by one, and is flushed."""
    with Stream(core, propagate) as stream:
        results = []
        for frame in frames:
            result = stream.step(frame)
            if result is not None:
                results.append(_copied(result))
        results += stream.flush()
    return _stacked(results)


def _pushed(core: Core, samples: np.ndarray, length: int) -> tuple[np.ndarray, ...]:
    """Outputs (T, ...) of a stream that takes the samples in chunks of `length`, and is flushed."""
    with Stream(core, propagate) as stream:
        results = []
        for start in range(0, len(samples), length):
            results += stream.push(samples[start : start + length])
        results += stream.flush()
    return _stacked(results)


def _samples(core: Core, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What `push` takes, and the frames that it must cut from it."""
    framing = core.spec.framing
    if framing is None:
        return frames, frames
    samples = frames.reshape(-1, *frames.shape[2:])
    starts = range(0, len(samples) - framing.length + 1, framing.hop)
    return samples, np.stack([samples[start : start + framing.length] for start in starts])


def _copied(result: Result) -> Result:
    return tuple(item.copy() for item in result) if isinstance(result, tuple) else result.copy()


def _stacked(results: Sequence[Result]) -> tuple[np.ndarray, ...]:
    """One array (T, ...) per output."""
    rows = [result if isinstance(result, tuple) else (result,) for result in results]
    return tuple(np.stack(column) for column in zip(*rows, strict=True))


def _feed(registers: Registers, frame: np.ndarray, real: bool) -> None:
    registers.inputs[0][...] = frame
    for flag in registers.inputs[1:]:
        flag[...] = real


def _compared(
    got: Sequence[np.ndarray], want: Sequence[np.ndarray], tolerance: Tolerance
) -> list[Difference]:
    return [compare("", g, w, tolerance) for g, w in zip(got, want, strict=True)]


def _rung(claim: str, differences: Sequence[Difference], detail: str) -> Rung:
    """The rung of many differences: it shows the one that comes nearest to its bound, or passes it."""
    if not differences:
        return Rung(claim, False, detail="nothing was compared")
    shown = worst(differences)
    return Rung(claim, all(d.within for d in differences), shown.largest, shown.bound, detail)
