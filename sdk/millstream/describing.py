"""What the manifest says of a model: the contract of its step, and what the model cannot say itself."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from millstream.errors import DataInvalid
from millstream.graph import StepGraph, Tensor
from millstream.protocol import VALID, Streamable
from millstream_runtime.spec import Framing, ModelSpec, StateSpec, TensorSpec


@dataclass(frozen=True)
class About:
    """What a model cannot say about itself.

    `hop` is in samples: with it, the first axis of a frame counts samples and `Stream.push` takes samples.
    `sample_rate` is in hertz. `labels` name the elements of the last axis of the first output. `origin` says
    in the proof what the graph is held against.
    """

    name: str = "model"
    sample_rate: float | None = None
    hop: int | None = None
    labels: tuple[str, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    origin: str = "step form (torch)"


def model_spec(source: Streamable, graph: StepGraph, about: About) -> ModelSpec:
    """The contract of a traced step. Raises DataInvalid for labels or a hop that do not fit its shapes."""
    inputs = tuple(_tensor_spec(t) for t in graph.inputs if t.name != VALID)
    outputs = tuple(_tensor_spec(t) for t in graph.outputs)
    _check_labels(about.labels, outputs[0])
    initial = {name: value[0].numpy() for name, value in source.initial.items()}
    return ModelSpec(
        name=about.name,
        inputs=inputs,
        outputs=outputs,
        states=_states(graph, initial),
        batch=graph.batch,
        look_ahead=source.look_ahead,
        valid=VALID if source.look_ahead else "",
        sample_rate=about.sample_rate,
        framing=_framing(inputs[0], about.hop),
        labels=about.labels,
    )


def with_states(spec: ModelSpec, graph: StepGraph, initial: Mapping[str, np.ndarray]) -> ModelSpec:
    """The contract of a step that keeps its states otherwise; `initial` has no batch dimension."""
    return replace(spec, states=_states(graph, initial))


def _states(graph: StepGraph, initial: Mapping[str, np.ndarray]) -> tuple[StateSpec, ...]:
    return tuple(
        StateSpec(pair.name, pair.next_name, _shape(t), t.dtype.name, _fill(initial[pair.name]))
        for pair, t in zip(graph.states, graph.state_tensors, strict=True)
    )


def _check_labels(labels: tuple[str, ...], output: TensorSpec) -> None:
    if labels and output.shape[-1:] != (len(labels),):
        raise DataInvalid(
            f"{len(labels)} labels for a first output of shape {output.shape}",
            fix="give one label for each element of its last axis",
        )


def _framing(frame: TensorSpec, hop: int | None) -> Framing | None:
    if hop is None:
        return None
    if not frame.shape or not 1 <= hop <= frame.shape[0]:
        raise DataInvalid(
            f"a hop of {hop} samples does not fit frames of shape {frame.shape}",
            why="the first axis of a frame counts its samples, and frames may overlap but not leave gaps",
        )
    return Framing(hop, frame.shape[0])


def _tensor_spec(tensor: Tensor) -> TensorSpec:
    return TensorSpec(tensor.name, _shape(tensor), tensor.dtype.name)


def _shape(tensor: Tensor) -> tuple[int, ...]:
    return tuple(extent or 0 for extent in tensor.shape[1:])


def _fill(initial: np.ndarray) -> float | int | bool | None:
    """The one value that an initial state holds everywhere, or None when it must be stored."""
    values = np.unique(initial)
    if values.size > 1:
        return None
    value = values.item() if values.size else 0
    return value if math.isfinite(value) else None


def stored(spec: ModelSpec, initial: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """Initial values that no fill can say."""
    pairs = zip(spec.states, initial, strict=True)
    return {state.name: value for state, value in pairs if state.fill is None}
