"""The reference as a backend's run half: a step graph opened as a `Step`, on the host only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from millstream.errors import GraphInvalid
from millstream.reference.interpreter import Prepared, prepare
from millstream_runtime.backends import Step
from millstream_runtime.spec import ModelSpec


@dataclass(frozen=True)
class _ReferenceStep:
    run: Prepared
    input_names: tuple[str, ...]
    output_names: tuple[str, ...]
    chunks: None = None

    def bind(
        self,
        inputs: Sequence[np.ndarray],
        states: Sequence[np.ndarray],
        outputs: Sequence[np.ndarray],
        next_states: Sequence[np.ndarray],
    ) -> Callable[[], None]:
        """One step from and into the caller's arrays. Unlike on a device, a call allocates."""
        given = dict(zip(self.input_names, (*inputs, *states), strict=True))
        wanted = dict(zip(self.output_names, (*outputs, *next_states), strict=True))

        def call() -> None:
            results = self.run(given)
            for name, target in wanted.items():
                _store(name, results[name], target)

        return call


def _store(name: str, result: np.ndarray, target: np.ndarray) -> None:
    if (result.shape, result.dtype) != (target.shape, target.dtype):
        raise GraphInvalid(
            f"the graph computes {name} as {result.dtype}{result.shape}",
            why=f"the caller's array is {target.dtype}{target.shape}",
        )
    np.copyto(target, result)


def open(step: bytes | onnx.ModelProto, spec: ModelSpec) -> Step:
    """Open a step graph, given as a model or as the bytes of `step.onnx`.

    Raises UnsupportedOperators with every node that the reference does not define; a call of the bound
    step raises GraphInvalid when a result is not of the shape and dtype that the caller's array has.
    """
    model = onnx.load_from_string(step) if isinstance(step, bytes) else step
    return _ReferenceStep(
        run=prepare(model),
        input_names=(*(t.name for t in spec.graph_inputs), *(s.name for s in spec.states)),
        output_names=(*(t.name for t in spec.outputs), *(s.next_name for s in spec.states)),
    )
