"""From a streaming ONNX file to a step graph, the original beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import onnx.helper
import torch

from millstream.errors import OnnxUnusable
from millstream.graph import StepGraph
from millstream.importing import pairing
from millstream.importing.layout import step_graph, with_stream_sizes
from millstream.importing.reading import folded, frames_and_states, load, with_settings, with_sizes
from millstream.importing.recurrent import exposed
from millstream.importing.session import OnnxStep, Session
from millstream.protocol import Streamable

AUTO = "auto"


@dataclass(frozen=True)
class Imported:
    """The step graph, the original as a step, the pairs of states, and what was found out on the way."""

    graph: StepGraph
    source: Streamable
    states: Mapping[str, str]
    notes: tuple[str, ...]

    @property
    def frame(self) -> tuple[int, ...]:
        """The shape of a frame, without its stream."""
        return tuple(size or 1 for size in self.graph.inputs[0].shape[1:])


def imported(
    path: str,
    states: Sequence[str] = (),
    *,
    sizes: Mapping[str, Sequence[int]] | None = None,
    settings: Mapping[str, float] | None = None,
    expose: bool = False,
) -> Imported:
    """Bring in an ONNX file that streams.

    Args:
        path: the file.
        states: texts `input=output`, or `auto` alone to have them guessed and tried by stepping.
        sizes: shapes of inputs with free sizes, for one frame; a size that is not given is 1.
        settings: inputs that are no frames, such as a sample rate, and their fixed values.
        expose: open recurrent nodes that begin with a state inside the graph.

    Raises OnnxUnusable when the file, a name, a size or the pairing does not hold.
    """
    original = with_settings(load(path), settings or {})
    static = with_sizes(original, sizes or {})
    opened = folded(static)
    pairs, first = {}, {}
    if expose:
        opened, pairs, first = exposed(opened)
    own = [value.name for value in frames_and_states(original)]
    outputs = [value.name for value in original.graph.output]
    search = _Search(original, opened, pairs, first)
    notes: tuple[str, ...]
    if tuple(states) == (AUTO,):
        frame, found, notes = search.guess(own)
    else:
        found = {**pairing.given(states, own, outputs), **pairs}
        frame = _only_frame([name for name in own if name not in found])
        notes = search.confirm(frame, found)
    results = tuple(name for name in outputs if name not in found.values())
    graph = step_graph(opened, frame, results, found)
    source = _source(opened, frame, results, found, search.start(found))
    return Imported(graph, source, found, notes)


def _only_frame(left: Sequence[str]) -> str:
    if len(left) != 1:
        raise OnnxUnusable(
            f"{len(left)} inputs that are no states: {', '.join(left) or 'none'}",
            why="a step takes one frame",
            fix="name the states (--state h=hn) and fix settings (--set sr=16000) until one is left",
        )
    return left[0]


@dataclass(frozen=True)
class _Search:
    """The original with free sizes, and the opened static model, to try pairings on."""

    original: onnx.ModelProto
    opened: onnx.ModelProto
    exposed: Mapping[str, str]
    first: Mapping[str, np.ndarray]

    def start(self, pairs: Mapping[str, str]) -> dict[str, np.ndarray]:
        """The first value of every state: zeros, or what the graph held."""
        values = {value.name: value for value in self.opened.graph.input}
        return {name: self.first.get(name, _zeros(values[name])) for name in pairs}

    def trial(self, frame: str, pairs: Mapping[str, str]) -> pairing.Trial | None:
        """The best trial over all axes that may count frames; None when the graph takes one frame alone."""
        axes = pairing.frame_axes(self.original, frame)
        if not axes:
            return None
        value = next(v for v in self.opened.graph.input if v.name == frame)
        kind = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        shape = tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
        whole, step = Session(self.original), Session(self.opened)
        first = self.start(pairs)
        own = {name: array for name, array in first.items() if name not in self.exposed}
        trials = [pairing.tried(whole, step, (frame, shape, kind), axis, pairs, first, own) for axis in axes]
        return min(trials, key=lambda each: each.difference)

    def confirm(self, frame: str, pairs: Mapping[str, str]) -> tuple[str, ...]:
        """Try the pairing where the graph allows it. Raises OnnxUnusable when stepping differs."""
        trial = self.trial(frame, pairs)
        if trial is None or trial.difference == float("inf"):
            return ("the graph takes one frame at a time, so the pairing of states is as you say",)
        if not trial.passed:
            raise OnnxUnusable(
                f"frame by frame it differs by {trial.difference:.2g} from all frames at once",
                why=f"the states were {_text(pairs)}",
                fix="pair them otherwise, name all of them, or let --state auto try",
            )
        return (f"stepping equals all frames at once to {trial.difference:.1g}",)

    def guess(self, inputs: Sequence[str]) -> tuple[str, dict[str, str], tuple[str, ...]]:
        """The one frame and pairing that steps right. Raises OnnxUnusable when none or several do."""
        frame, *rest = inputs
        tried = []
        for found in pairing.guesses(self.original, frame) if rest else iter([{}]):
            pairs = {**found, **self.exposed}
            tried.append((pairs, self.trial(frame, pairs)))
        right = [(pairs, trial) for pairs, trial in tried if trial is not None and trial.passed]
        if len(right) != 1:
            shown = (
                "; ".join(f"{_text(p)}: {_outcome(t)}" for p, t in tried) or "no output has a state's shape"
            )
            raise OnnxUnusable(
                "the states cannot be told by trying",
                why=f"{len(right)} of {len(tried)} pairings step right: {shown}",
                fix="name them: "
                + (
                    " ".join(f"--state {a}={b}" for a, b in tried[0][0].items())
                    if tried
                    else "--state input=output"
                ),
            )
        pairs, trial = right[0]
        others = [t.difference for p, t in tried if p != pairs and t is not None]
        beside = f", the next best by {min(others):.2g}" if others else ""
        note = f"states {_text(pairs)}: stepping differs by {trial.difference:.1g}{beside}"
        return frame, pairs, (note,)


def _outcome(trial: pairing.Trial | None) -> str:
    return "one frame alone, nothing to try" if trial is None else f"differs by {trial.difference:.2g}"


def _text(pairs: Mapping[str, str]) -> str:
    return ", ".join(f"{before}={after}" for before, after in pairs.items())


def _zeros(value: onnx.ValueInfoProto) -> np.ndarray:
    kind = value.type.tensor_type
    sizes = [dim.dim_value for dim in kind.shape.dim]
    return np.zeros(sizes, onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type))


def _source(
    opened: onnx.ModelProto,
    frame: str,
    results: tuple[str, ...],
    states: Mapping[str, str],
    first: Mapping[str, np.ndarray],
) -> Streamable:
    """The static original in onnxruntime, in the protocol's layout."""
    shapes = {v.name: tuple(d.dim_value for d in v.type.tensor_type.shape.dim) for v in opened.graph.input}
    module = OnnxStep(Session(opened), frame, results, states, shapes)
    initial = {
        name: torch.tensor(value.reshape(with_stream_sizes(value.shape))) for name, value in first.items()
    }
    module.initial_state = lambda batch: {n: v.clone() for n, v in initial.items()}  # type: ignore[assignment]
    return Streamable(module, bool(states), 0, initial)
