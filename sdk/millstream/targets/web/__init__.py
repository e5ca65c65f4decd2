"""Compile half of the web backend: a step as WebAssembly, twice, and the JavaScript that streams it.

`step.wasm` has SIMD, `plain.wasm` has not; `model.json` says what stands where. No run half opens these
files: `open` runs both builds in Node and refuses a pair that does not agree.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from millstream import lower
from millstream.gap import Gap
from millstream.graph import StepGraph
from millstream.targets import TARGETS, Compiled, Contract, Target
from millstream.targets import object as kernels
from millstream.targets.c.layout import Member, layout, record
from millstream.targets.emulation.kernel import EmulatedKernel, open_kernel
from millstream.targets.emulation.machines import MACHINES
from millstream_runtime.errors import BackendRefused
from millstream_runtime.replay import compare
from millstream_runtime.spec import ModelSpec, TargetSpec, Tolerance

_SIMD, _PLAIN = TARGETS["wasm32"], TARGETS["wasm32-plain"]
_SCRIPTS = ("stream.mjs", "tensors.mjs", "snapshot.mjs", "worklet.mjs")
_FOLDER = Path(__file__).parent


def missing(target: Target) -> tuple[str, ...]:
    """As for `wasm32`."""
    return kernels.missing(_SIMD)


def gaps(graph: StepGraph, target: Target) -> list[Gap]:
    """Every node that the lowering cannot express."""
    return lower.gaps(graph)


def compile(graph: StepGraph, target: Target, contract: Contract) -> Compiled:
    """Compile both builds. Raises ToolMissing, CallsUnresolved."""
    lowered = lower.lower(graph)
    simd, plain = (
        kernels.compile_program(lowered.program, lowered.weights, contract, build)
        for build in (_SIMD, _PLAIN)
    )
    builds = {"step.wasm": simd.files["step.wasm"], "plain.wasm": plain.files["step.wasm"]}
    described = describe(contract.spec, graph.sha256(), {name: len(data) for name, data in builds.items()})
    scripts = {name: (_FOLDER / name).read_bytes() for name in _SCRIPTS}
    files = {**builds, **scripts, "step.mjs": simd.files["step.mjs"], "model.json": _json(described)}
    return dataclasses.replace(simd, files=files)


def describe(spec: ModelSpec, identity: str, builds: Mapping[str, int]) -> dict[str, object]:
    """What the JavaScript must know: tensors with their bytes in the structs of `step.h`, framing, labels,
    and the bytes of each build."""
    structs = layout(spec)
    inputs = _placed(structs.input)
    return {
        "name": spec.name,
        "identity": identity,
        "inputs": inputs[: len(spec.inputs)],
        "valid": inputs[-1] if spec.valid else None,
        "outputs": _placed(structs.output),
        "states": _placed(structs.state),
        "look_ahead": spec.look_ahead,
        "framing": dataclasses.asdict(spec.framing) if spec.framing else None,
        "sample_rate": spec.sample_rate,
        "labels": spec.labels,
        "builds": builds,
    }


def open(files: Mapping[str, bytes], spec: ModelSpec, target: TargetSpec) -> BothBuilds:
    """Both builds in Node. Raises BackendMissing or BackendRefused; a call raises BackendRefused when the
    builds give other numbers."""
    machine, structs = MACHINES[_SIMD.name], layout(spec)
    simd = open_kernel({name: files[name] for name in ("step.mjs", "step.wasm")}, structs, machine)
    plain = open_kernel({"step.mjs": files["step.mjs"], "step.wasm": files["plain.wasm"]}, structs, machine)
    rounded = (*(False for _ in spec.outputs), *(state.rounded for state in spec.states))
    return BothBuilds(simd, plain, target.tolerance, rounded)


class BothBuilds:
    """An opened step; see `millstream_runtime.backends.Step`. The numbers are those with SIMD.

    `rounded` says of each output and state whether its integers stand for floats.
    """

    chunks = None

    def __init__(
        self, simd: EmulatedKernel, plain: EmulatedKernel, tolerance: Tolerance, rounded: Sequence[bool]
    ) -> None:
        self._simd = simd
        self._plain = plain
        self._tolerance = tolerance
        self._rounded = rounded

    def bind(
        self,
        inputs: Sequence[np.ndarray],
        states: Sequence[np.ndarray],
        outputs: Sequence[np.ndarray],
        next_states: Sequence[np.ndarray],
    ) -> Callable[[], None]:
        """See `Step.bind`. Raises WrongShape or WrongDtype for arrays that do not fit."""
        own_outputs, own_states = ([np.empty_like(a) for a in arrays] for arrays in (outputs, next_states))
        simd = self._simd.bind(inputs, states, outputs, next_states)
        plain = self._plain.bind(inputs, states, own_outputs, own_states)

        def call() -> None:
            plain()
            simd()
            both = zip((*own_outputs, *own_states), (*outputs, *next_states), self._rounded, strict=True)
            found = [compare("", got, want, self._tolerance, rounded) for got, want, rounded in both]
            if not all(difference.within for difference in found):
                raise BackendRefused(
                    "the builds with and without SIMD give other numbers",
                    where="target web",
                    why=f"largest difference {max(difference.largest for difference in found):.3g}",
                )

        return call


def _placed(members: Sequence[Member]) -> list[dict[str, object]]:
    """Each tensor with the byte at which it begins in its struct, and its number of elements."""
    offsets = {name: field[1] for name, field in (record(members).fields or {}).items()}
    return [
        {
            "name": member.tensor.name,
            "dtype": member.tensor.dtype,
            "shape": list(member.tensor.shape),
            "size": member.size,
            "offset": offsets.get(member.name, 0),
        }
        for member in members
    ]


def _json(document: Mapping[str, object]) -> bytes:
    return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False).encode()
