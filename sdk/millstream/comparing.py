"""Two bundles side by side: what they take, how fast they are here, and how far their numbers lie apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from millstream.bench import step_times
from millstream.opening import asked, open_all
from millstream.whereabouts import runs_here
from millstream_runtime.bundle import Bundle
from millstream_runtime.golden import load
from millstream_runtime.model import Model
from millstream_runtime.registers import Registers
from millstream_runtime.spec import GOLDEN, ModelSpec


@dataclass(frozen=True)
class Side:
    """One bundle: bytes as it is stored and of one stream's state; bytes of weights for each target, and the
    median of microseconds per step for each that runs here."""

    path: str
    model: str
    identity: str
    bundle_bytes: int
    state_bytes: int
    weight_bytes: Mapping[str, int]
    medians: Mapping[str, float]


@dataclass(frozen=True)
class Apart:
    """How far the second bundle's output lies from the first's: the largest difference, and the RMS of the
    difference over the RMS of the first. `agreeing` is the share of frames whose largest element is the same,
    None for an output that is no vector."""

    output: str
    largest: float
    relative_rms: float
    agreeing: float | None


@dataclass(frozen=True)
class Comparison:
    """`contract` names what differs in inputs, outputs and states; `apart` is empty unless both take the same
    inputs and give outputs of the same names and shapes."""

    first: Side
    second: Side
    contract: tuple[str, ...]
    apart: tuple[Apart, ...]


def compare(first: Bundle, second: Bundle, steps: int) -> Comparison:
    """Compare two verified bundles over `steps` timed steps of each target, and on the first's golden frames.

    Raises NoBackendOpens, BatchFixed, TensorsInvalid.
    """
    ours, theirs = _opened(first), _opened(second)
    specs = first.manifest.model, second.manifest.model
    return Comparison(
        _side(first, ours, steps),
        _side(second, theirs, steps),
        tuple(_differing(*specs)),
        _apart(first, _nearest(ours), _nearest(theirs)) if _faces(specs[0]) == _faces(specs[1]) else (),
    )


def _faces(spec: ModelSpec) -> tuple[object, ...]:
    """What the two must have in common to be compared on frames."""
    faces = [(t.name, t.shape, t.dtype) for t in (*spec.graph_inputs, *spec.outputs)]
    return spec.look_ahead, len(spec.outputs), faces


def _opened(bundle: Bundle) -> list[Model]:
    return [one.model for one in open_all(bundle, asked(bundle, None)) if one.model is not None]


def _nearest(models: list[Model]) -> Model:
    """The first that runs on this machine itself, else the first."""
    return min(models, key=lambda model: not runs_here(model.target))


def _side(bundle: Bundle, models: list[Model], steps: int) -> Side:
    manifest = bundle.manifest
    golden = load(bundle.members[GOLDEN], manifest.model)
    return Side(
        path=bundle.path,
        model=manifest.model.name,
        identity=manifest.model_sha256,
        bundle_bytes=sum(member.size for member in manifest.members.values()),
        state_bytes=sum(value.nbytes for value in bundle.initial()),
        weight_bytes={target.name: target.memory.weights for target in manifest.targets},
        medians={
            model.target.name: float(np.median(step_times(model, golden, steps)))
            for model in models
            if runs_here(model.target)
        },
    )


def _differing(first: ModelSpec, second: ModelSpec) -> list[str]:
    """Each tensor that stands in one contract only, or otherwise in the other."""
    said = []
    for kind in ("inputs", "outputs", "states"):
        one, other = ({t.name: (t.shape, t.dtype) for t in getattr(spec, kind)} for spec in (first, second))
        for name in dict.fromkeys((*one, *other)):
            if one.get(name) != other.get(name):
                here, there = (_shown(found.get(name)) for found in (one, other))
                said.append(f"{kind.removesuffix('s')} {name}: {here}, {there}")
    return said


def _shown(tensor: tuple[tuple[int, ...], str] | None) -> str:
    return f"{tensor[1]}{tensor[0]}" if tensor else "none"


def _apart(bundle: Bundle, first: Model, second: Model) -> tuple[Apart, ...]:
    golden = load(bundle.members[GOLDEN], bundle.manifest.model)
    streams = [Registers(model.core, model.spec.batch or 1) for model in (first, second)]
    found: list[list[list[np.ndarray]]] = [[], []]
    for tick in range(golden.ticks):
        for registers, history in zip(streams, found, strict=True):
            for buffer, values in zip(registers.inputs, golden.inputs, strict=True):
                buffer[...] = values[tick]
            registers.tick()
            if tick >= first.spec.look_ahead:
                history.append([np.array(output[0]) for output in registers.outputs])
    ours, theirs = ([np.stack(column) for column in zip(*history, strict=True)] for history in found)
    names = [output.name for output in first.spec.outputs]
    return tuple(_difference(*one) for one in zip(names, ours, theirs, strict=True))


def _difference(name: str, one: np.ndarray, other: np.ndarray) -> Apart:
    wide = one.astype(np.float64)
    gap = np.abs(other.astype(np.float64) - wide)
    size = float(np.sqrt(np.square(wide).mean()))
    rms = float(np.sqrt(np.square(gap).mean()))
    vectors = one.ndim == 2 and one.shape[1] > 1
    agreeing = float((one.argmax(1) == other.argmax(1)).mean()) if vectors else None
    return Apart(name, float(gap.max()), rms / size if size else rms and np.inf, agreeing)
