"""Where the time of a step goes on this machine, fused stage by fused stage.

The program is cut into groups of stages of one origin. Each group is compiled by the Numba backend as a
program of its own, and the groups are called one after the other, round after round, so that each finds the
caches as the others leave them. The time of a call is counted without that of a program without stages.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from millstream import targets
from millstream.gap import refuse
from millstream.graph import StepGraph
from millstream.targets import Contract
from millstream_runtime import plan
from millstream_runtime.backends import load_backend
from millstream_runtime.bundle import Bundle
from millstream_runtime.errors import BackendMissing
from millstream_runtime.golden import load
from millstream_runtime.program import Program, Stage, buffer_bytes, loaded
from millstream_runtime.registers import aligned
from millstream_runtime.spec import GOLDEN, STEP, ModelSpec, TargetSpec

_BACKEND = "numba"


@dataclass(frozen=True)
class Group:
    """Neighbouring stages of one origin: how often their innermost expressions are computed in one step, the
    bytes of constants that they read, and the median of microseconds that a step spends there."""

    origin: str
    stages: int
    points: int
    weight_bytes: int
    microseconds: float


@dataclass(frozen=True)
class Profile:
    """`whole` is the median of the step as one function, `sum` of the groups' medians; `call` is what calling
    a compiled function and reading the clock takes, which is in none of them. All in microseconds."""

    model: str
    rounds: int
    groups: tuple[Group, ...]
    whole: float
    call: float

    @property
    def sum(self) -> float:
        return sum(group.microseconds for group in self.groups)


def profile(bundle: Bundle, rounds: int) -> Profile:
    """Measure over `rounds` rounds on the first golden frame, from the initial states.

    Raises BackendMissing without numba, UnsupportedOperators for a graph that the lowering cannot express.
    """
    backend = load_backend(_BACKEND)
    if backend.missing():
        raise BackendMissing(
            "a profile is measured with numba, which is not installed", fix=backend.missing()
        )
    spec = bundle.manifest.model
    files, target = _compiled(bundle)
    program = plan.load(files["plan.json"])
    buffers = _buffers(bundle)

    def bound(stages: Sequence[Stage]) -> Callable[[], None]:
        part = dataclasses.replace(program, stages=tuple(stages))
        return backend.open({**files, "plan.json": plan.dump(part)}, spec, target).bind(*buffers)

    groups = [list(stages) for _, stages in itertools.groupby(program.stages, lambda stage: stage.origin)]
    call, *times = _medians([bound([]), *map(bound, groups)], rounds)
    (whole,) = _medians([bound(program.stages)], rounds)
    return Profile(
        model=spec.name,
        rounds=rounds,
        groups=tuple(
            # What takes less than the clock's own spread may come out below nothing.
            _group(program, stages, max(0.0, found - call))
            for stages, found in zip(groups, times, strict=True)
        ),
        whole=max(0.0, whole - call),
        call=call,
    )


def _compiled(bundle: Bundle) -> tuple[dict[str, bytes], TargetSpec]:
    """The files of the bundle's target for Numba, or what such a target would be."""
    for target in bundle.manifest.targets:
        if target.backend == _BACKEND:
            return bundle.files(target), target
    kind = targets.target(_BACKEND)
    graph = StepGraph(onnx.load_from_string(bundle.members[STEP]))
    refuse({kind.name: targets.compile_half(kind).gaps(graph, kind)})
    contract = Contract(bundle.manifest.model, bundle.initial())
    made = targets.compile_half(kind).compile(graph, kind, contract)
    return dict(made.files), TargetSpec(kind.name, kind.backend, (), made.tolerance, made.memory)


def _buffers(bundle: Bundle) -> tuple[tuple[np.ndarray, ...], ...]:
    """Inputs, states, outputs and next states of one stream."""
    spec: ModelSpec = bundle.manifest.model
    golden = load(bundle.members[GOLDEN], spec)
    kinds = (spec.graph_inputs, spec.states, spec.outputs, spec.states)
    inputs, states, outputs, following = (
        tuple(aligned((1, *each.shape), each.dtype) for each in kind) for kind in kinds
    )
    for buffer, values in zip(inputs, golden.inputs, strict=True):
        buffer[0] = values[0]
    for buffer, value in zip(states, bundle.initial(), strict=True):
        buffer[0] = value
    return inputs, states, outputs, following


def _medians(calls: Sequence[Callable[[], None]], rounds: int) -> list[float]:
    """Microseconds of each call, in turn in each round."""
    times = np.empty((rounds, len(calls)))
    for call in calls:
        call()
    for number in range(rounds):
        for place, call in enumerate(calls):
            begin = time.perf_counter_ns()
            call()
            times[number, place] = time.perf_counter_ns() - begin
    return (np.median(times, axis=0) / 1e3).tolist()


def _group(program: Program, stages: Sequence[Stage], microseconds: float) -> Group:
    read = set().union(*map(loaded, stages))
    constants = [buffer for buffer in program.role("constant") if buffer.name in read]
    return Group(
        origin=stages[0].origin,
        stages=len(stages),
        points=sum(math.prod(s.all_extents) for s in stages),
        weight_bytes=sum(map(buffer_bytes, constants)),
        microseconds=microseconds,
    )
