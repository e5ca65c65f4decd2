"""The run half of onnxruntime: opens `step.onnx` as it is, on any machine with onnxruntime.

Inputs and outputs are bound once, by address, to the caller's own arrays: no copies, no allocation of
tensors per call. One thread: the steps of a stream are too small to share.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from millstream_runtime.errors import BackendMissing, BackendRefused
from millstream_runtime.spec import DTYPES, STEP, ModelSpec, TargetSpec

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

_INSTALL = "pip install 'millstream[onnxruntime]'"

#: onnxruntime's names of dtypes, and NumPy's.
_DTYPES = {f"tensor({name})": name for name in DTYPES} | {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
}


def missing() -> str:
    """Empty when onnxruntime is installed, else the line that installs it."""
    import importlib.util

    return "" if importlib.util.find_spec("onnxruntime") else _INSTALL


def open(files: Mapping[str, bytes], spec: ModelSpec, target: TargetSpec) -> OnnxruntimeStep:
    """Open `step.onnx`. Raises BackendMissing, BackendRefused."""
    opened = session(bytes(files[STEP]))
    inputs = [(t.name, t.shape, t.dtype) for t in spec.graph_inputs]
    outputs = [(t.name, t.shape, t.dtype) for t in spec.outputs]
    inputs += [(s.name, s.shape, s.dtype) for s in spec.states]
    outputs += [(s.next_name, s.shape, s.dtype) for s in spec.states]
    _check("inputs", opened.get_inputs(), inputs)
    _check("outputs", opened.get_outputs(), outputs)
    return OnnxruntimeStep(opened, tuple(n for n, _, _ in inputs), tuple(n for n, _, _ in outputs))


@dataclass(frozen=True)
class OnnxruntimeStep:
    """A session, which onnxruntime allows several threads to run, and the names of the graph."""

    session: InferenceSession
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
        """See `backends.Step.bind`."""
        session = self.session
        binding = session.io_binding()
        arrays = (*inputs, *states), (*outputs, *next_states)
        for name, array in zip(self.input_names, arrays[0], strict=True):
            binding.bind_input(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
        for name, array in zip(self.output_names, arrays[1], strict=True):
            binding.bind_output(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)

        def call(arrays: object = arrays) -> None:  # holding the arrays keeps their addresses valid
            session.run_with_iobinding(binding)

        return call


def session(step: bytes) -> InferenceSession:
    """A session on one thread. Raises BackendMissing, or BackendRefused with onnxruntime's own words."""
    try:
        import onnxruntime
        from onnxruntime.capi import onnxruntime_pybind11_state as codes  # pyright: ignore
    except ImportError as error:
        raise BackendMissing("onnxruntime is not installed", why=str(error), fix=_INSTALL) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Left to itself, onnxruntime rounds the activations of dequantized weights to int8.
    options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "1")
    refusals = (codes.Fail, codes.InvalidArgument, codes.InvalidGraph, codes.InvalidProtobuf)
    try:
        return onnxruntime.InferenceSession(step, options, providers=["CPUExecutionProvider"])
    except (*refusals, codes.NotImplemented, codes.RuntimeException) as error:
        raise BackendRefused("onnxruntime does not take the step", where=STEP, why=str(error)) from error


def _check(what: str, found: Sequence[Any], wanted: list[tuple[str, tuple[int, ...], str]]) -> None:
    """The graph's own words on its arguments must be the manifest's: wrong sizes would reach memory."""
    graph = [(v.name, tuple(v.shape[1:]), _DTYPES.get(v.type, v.type)) for v in found]
    if graph != wanted:
        raise BackendRefused(
            f"the graph's {what} are not those that the manifest names",
            where=STEP,
            why=f"found {graph}, expected {wanted}",
        )
