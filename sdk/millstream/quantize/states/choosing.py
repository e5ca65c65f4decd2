"""The smallest storage of each state that keeps a step near float, by measurement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from millstream.graph import StepGraph, Tensor
from millstream.quantize.calibration import Calibration
from millstream.quantize.states.drift import LASTING, TICKS, WINDOWS, Drift, Mix, drifts
from millstream.quantize.states.storage import Storage, kept_bytes
from millstream.quantize.states.storages import FLOAT32_BYTES, STORAGES, smaller


@dataclass(frozen=True)
class Candidate:
    """A storage that was tried for a state alone, and what it did."""

    storage: Storage
    drift: Drift


@dataclass(frozen=True)
class Kept:
    """A float state: its number of values, what was tried, the storage that it gets (None: it stays as it is)
    and why."""

    name: str
    values: int
    candidates: tuple[Candidate, ...]
    storage: Storage | None
    why: str

    @property
    def bytes(self) -> int:
        """Of one stream, scales counted."""
        return kept_bytes(self.storage, self.values) if self.storage else self.values * FLOAT32_BYTES


@dataclass(frozen=True)
class Chosen:
    """The storage of every float32 state, and the drift of all of them together."""

    most: float
    states: tuple[Kept, ...]
    drift: Drift

    @property
    def mix(self) -> Mix:
        """The states that get narrower."""
        return {state.name: state.storage for state in self.states if state.storage}

    def to_json(self) -> dict[str, Any]:
        """Plain values for the report."""
        return {
            "bound": self.most,
            "ticks": TICKS,
            "windows": WINDOWS,
            "lasting": LASTING,
            "states": [_state(state) for state in self.states],
            "together": _curve(self.drift),
            "bytes": sum(state.bytes for state in self.states),
            "float32 bytes": sum(state.values * FLOAT32_BYTES for state in self.states),
        }


def choose(
    graph: StepGraph, calibration: Calibration, most: float, storages: Sequence[Storage] = STORAGES
) -> Chosen:
    """Give each float32 state of a flat graph the smallest of the storages with which no output and no state
    goes farther than `most` (relative RMS) from float, each alone and all of them together.

    What grows in float, or starts from NaN or infinity, stays as it is.
    """
    tensors = {t.name: t for t in graph.state_tensors if t.dtype == np.float32 and _values(t)}
    initial = {pair.name: x for pair, x in zip(graph.states, calibration.initial, strict=True)}
    alone = [
        (name, storage)
        for name, tensor in tensors.items()
        if np.isfinite(initial[name]).all()
        for storage in smaller(storages, _values(tensor))
    ]
    streamed = drifts(graph, [{name: storage} for name, storage in alone], calibration)
    tried: dict[str, list[Candidate]] = {name: [] for name in tensors}
    for (name, storage), drift in zip(alone, streamed.drifts, strict=True):
        tried[name].append(Candidate(storage, drift))
    fitting = {
        name: [c for c in candidates if c.drift.lasting <= most and name not in streamed.growing]
        for name, candidates in tried.items()
    }
    mix, drift = _together(graph, fitting, calibration, most)
    states = []
    for name, tensor in tensors.items():
        why = _why(name, tried[name], fitting[name], mix.get(name), name in streamed.growing)
        states.append(Kept(name, _values(tensor), tuple(tried[name]), mix.get(name), why))
    return Chosen(most, tuple(states), drift)


def _together(
    graph: StepGraph, fitting: Mapping[str, Sequence[Candidate]], calibration: Calibration, most: float
) -> tuple[Mix, Drift]:
    """The smallest mix that keeps within `most`, and what it does.

    It is looked for from the smallest storages on, the state with the largest drift one wider each time.
    """
    left = {name: list(candidates) for name, candidates in fitting.items() if candidates}
    mixes = [_smallest(left)]
    while left:
        worst = max(left, key=lambda name: left[name][0].drift.lasting)
        left[worst] = left[worst][1:]
        left = {name: candidates for name, candidates in left.items() if candidates}
        mixes.append(_smallest(left))
    found = zip(mixes, drifts(graph, mixes, calibration).drifts, strict=True)
    return next((mix, drift) for mix, drift in found if drift.lasting <= most)


def _smallest(left: Mapping[str, Sequence[Candidate]]) -> Mix:
    return {name: candidates[0].storage for name, candidates in left.items()}


def _why(
    name: str, tried: Sequence[Candidate], fitting: Sequence[Candidate], taken: Storage | None, grows: bool
) -> str:
    """Why a state gets what it gets: what the smaller storages would have done."""
    if not tried:
        return "nothing is smaller, or it starts from NaN or infinity"
    if grows:
        return "it goes on growing in float"
    refused = [c for c in tried if c not in fitting]
    told = [f"{c.storage.dtype} moves {c.drift.worst} by {c.drift.lasting:.1%}" for c in refused]
    if fitting and taken != fitting[0].storage:
        told.append("with all states together smaller ones drift too far")
    return "; ".join(told)


def _values(tensor: Tensor) -> int:
    return int(np.prod([extent or 0 for extent in tensor.shape[1:]], dtype=np.int64))


def _state(state: Kept) -> dict[str, Any]:
    return {
        "name": state.name,
        "values": state.values,
        "dtype": state.storage.dtype if state.storage else "float32",
        "bytes": state.bytes,
        "why": state.why,
        "tried": [{"dtype": c.storage.dtype, **_curve(c.drift)} for c in state.candidates],
    }


def _curve(drift: Drift) -> dict[str, Any]:
    # JSON has no infinity: what is infinitely far is told as null.
    finite = [error if np.isfinite(error) else None for error in drift.curve]
    lasting = drift.lasting if np.isfinite(drift.lasting) else None
    return {"error": lasting, "worst": drift.worst, "curve": finite}
