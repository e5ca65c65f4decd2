"""A step whose integers are computed by a circuit, and what is left of it on the host."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from millstream_runtime.backends.circuit.ports import Ports, reals, words
from millstream_runtime.backends.onnxruntime import OnnxruntimeStep, session
from millstream_runtime.spec import ModelSpec


class Circuit(Protocol):
    """Something behind a port: a simulator, or a board."""

    def exchange(self, frame: np.ndarray) -> np.ndarray:
        """The answer, int16, to the words of a frame."""
        ...


@dataclass(frozen=True)
class CircuitStep:
    """One circuit, which takes the rows of a batch one after the other, and `around`, which is None when
    nothing is left for the host."""

    spec: ModelSpec
    ports: Ports
    circuit: Circuit
    around: OnnxruntimeStep | None
    chunks: None = None

    def bind(
        self,
        inputs: Sequence[np.ndarray],
        states: Sequence[np.ndarray],
        outputs: Sequence[np.ndarray],
        next_states: Sequence[np.ndarray],
    ) -> Callable[[], None]:
        """See `backends.Step.bind`."""
        spec = self.spec
        names = [t.name for t in (*spec.graph_inputs, *spec.states, *spec.outputs)]
        names += [state.next_name for state in spec.states]
        arrays = (*inputs, *states, *outputs, *next_states)
        rows = [
            self._row({name: array[row : row + 1] for name, array in zip(names, arrays, strict=True)})
            for row in range(len(arrays[0]))
        ]

        def call() -> None:
            for row in rows:
                row()

        return call

    def _row(self, arrays: dict[str, np.ndarray]) -> Callable[[], None]:
        """One step of one stream; `arrays` are its tensors by name, and those that only `around` reads are
        added."""
        ports, circuit = self.ports, self.circuit
        frame = np.zeros(ports.words_in, "<i2")
        around = self._around(arrays)

        def call() -> None:
            start = 0
            for tensor in ports.inputs:
                frame[start : start + tensor.size] = words(arrays[tensor.name].reshape(-1), tensor.fraction)
                start += tensor.size
            answer, start = circuit.exchange(frame), 0
            for tensor in ports.outputs:
                found = reals(answer[start : start + tensor.size], tensor.fraction)
                np.copyto(arrays[tensor.name], found.reshape(arrays[tensor.name].shape))
                start += tensor.size
            if around:
                around()

        return call

    def _around(self, arrays: dict[str, np.ndarray]) -> Callable[[], None] | None:
        shapes = _shapes(self.around) if self.around else {}
        for tensor in self.ports.outputs:
            if tensor.name not in arrays:
                shape = shapes.get(tensor.name, (tensor.size,))
                arrays[tensor.name] = np.zeros(shape, np.float32)
        if self.around is None:
            return None
        given, made = self.around.input_names, self.around.output_names
        return self.around.bind([arrays[name] for name in given], [], [arrays[name] for name in made], [])


def host_part(model: bytes | None) -> OnnxruntimeStep | None:
    """What runs `around.onnx`. Raises BackendMissing, BackendRefused."""
    if model is None:
        return None
    opened = session(model)
    given = tuple(value.name for value in opened.get_inputs())
    return OnnxruntimeStep(opened, given, tuple(value.name for value in opened.get_outputs()))


def _shapes(around: OnnxruntimeStep) -> Mapping[str, tuple[int, ...]]:
    return {value.name: tuple(value.shape) for value in around.session.get_inputs()}
