"""The golden model and a simulated circuit over the same frames, each carrying its own state."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from millstream.graph import StepGraph
from millstream.quantize.calibration import observed
from millstream.reference.interpreter import prepare
from millstream_hw.circuit import Circuit
from millstream_hw.errors import BitsDiffer


@dataclass(frozen=True)
class Frames:
    """Words (T, words) int16 of all inputs side by side; `resets` (T,) says which begin a new stream."""

    words: np.ndarray
    resets: np.ndarray


def quantized(circuit: Circuit, inputs: list[np.ndarray]) -> np.ndarray:
    """Real frames (T, ...) of each input as the words that go in, as the graph quantizes them."""
    columns = []
    for port, real in zip(circuit.inputs, inputs, strict=True):
        steps = np.rint(real.astype(np.float32) / np.float32(2.0**-port.fraction))
        columns.append(np.clip(steps, -(1 << 15), (1 << 15) - 1).reshape(len(real), -1))
    return np.concatenate(columns, axis=1).astype(np.int16)


def random_frames(like: np.ndarray, count: int, seed: int) -> Frames:
    """Frames with the mean of each word of `like` and twice its spread, so that some saturate, with a reset
    now and then."""
    generator = np.random.default_rng(seed)
    mean, spread = like.mean(0), 2 * like.std(0) + 1
    words = np.rint(generator.normal(mean, spread, (count, like.shape[1])))
    resets = generator.random(count) < 0.01
    return Frames(np.clip(words, -(1 << 15), (1 << 15) - 1).astype(np.int16), resets)


def golden(graph: StepGraph, circuit: Circuit, frames: Frames) -> np.ndarray:
    """What the reference computes from the step graph: the words (T, out_words) int16 of all outputs. A state
    that the circuit takes as an input is what the frame says, not what the frame before left."""
    names = [port.name for port in circuit.outputs]
    batched = graph.specialize(1)
    run = prepare(observed(batched, names).model)
    following = {pair.name: pair.next_name for pair in batched.states}
    initial = {t.name: np.zeros([n or 1 for n in t.shape], t.dtype) for t in batched.state_tensors}
    for state in circuit.states:
        port = state.port
        initial[port.real] = (state.initial.reshape(1, *port.shape) * 2.0**-port.fraction).astype(np.float32)
    results, states = [], initial
    for words, reset in zip(frames.words, frames.resets, strict=True):
        states = initial if reset else states
        values = run({**states, **_reals(circuit, words)})
        states = {name: values[following[name]] for name in states}
        results.append(np.concatenate([values[name].reshape(-1) for name in names]))
    return np.array(results, np.int16)


def compare(name: str, wanted: np.ndarray, found: np.ndarray) -> None:
    """Raise BitsDiffer at the first word that differs."""
    different = np.argwhere(wanted != found)
    if len(different):
        frame, word = different[0]
        raise BitsDiffer(
            f"{name} and the golden model differ in {len(different)} of {wanted.size} words",
            where=f"first in frame {frame}, word {word}",
            why=f"{found[frame, word]} instead of {wanted[frame, word]}",
            fix="the circuit or its sources were changed; build it again, and report it if it stays",
        )


def _reals(circuit: Circuit, words: np.ndarray) -> dict[str, np.ndarray]:
    values, start = {}, 0
    for port in circuit.inputs:
        part = words[start : start + port.size].astype(np.float32) * np.float32(2.0**-port.fraction)
        values[port.real] = part.reshape(1, *port.shape)
        start += port.size
    return values
