"""onnxruntime with IOBinding: two sets of states, bound by address, take turns. One thread."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from frames import CHANNELS, Step

if TYPE_CHECKING:
    from onnxruntime import InferenceSession, IOBinding

_FILE = "step.onnx"
_FLOAT_FILE = "float32.onnx"


def float32(workload: str, folder: Path) -> None:
    from peers.flat_step import export_onnx

    export_onnx(workload, folder / _FILE)


def dynamic_int8(workload: str, folder: Path) -> None:
    """onnxruntime's own quantizer: int8 weights per channel, activations quantized at every step."""
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    from peers.flat_step import export_onnx

    export_onnx(workload, folder / _FLOAT_FILE)
    model = onnx.load(folder / _FLOAT_FILE)
    del model.graph.value_info[:]  # the quantizer takes them at their word, and they are too few
    onnx.save(model, folder / _FLOAT_FILE)
    quantize_dynamic(folder / _FLOAT_FILE, folder / _FILE, per_channel=True, weight_type=QuantType.QInt8)


def open_step(folder: Path) -> Step:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(folder / _FILE, options, providers=["CPUExecutionProvider"])
    x = np.zeros((1, CHANNELS), np.float32)
    y = np.zeros(session.get_outputs()[0].shape, np.float32)
    shapes = [value.shape for value in session.get_inputs()[1:]]
    one, other = ([np.zeros(shape, np.float32) for shape in shapes] for _ in range(2))
    here = _bind(session, [x, *one], [y, *other])
    there = _bind(session, [x, *other], [y, *one])

    def step(frame: np.ndarray, bound: object = (one, other)) -> np.ndarray:  # keeps their addresses valid
        nonlocal here, there
        x[...] = frame
        session.run_with_iobinding(here)
        here, there = there, here
        return y

    return step


def _bind(session: InferenceSession, inputs: list[np.ndarray], outputs: list[np.ndarray]) -> IOBinding:
    """A binding to the arrays by their addresses: it does not keep them alive."""
    binding = session.io_binding()
    for value, array in zip(session.get_inputs(), inputs, strict=True):
        binding.bind_input(value.name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
    for value, array in zip(session.get_outputs(), outputs, strict=True):
        binding.bind_output(value.name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
    return binding
