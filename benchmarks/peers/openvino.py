"""OpenVINO in its stateful form: states are variables of the model, which never leave it. One thread.

float32 is asked for by name, because on some CPUs the default is bfloat16.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from frames import CHANNELS, Step

_FILE = "step.xml"
_ONNX = "step.onnx"
_SETTINGS = "settings.json"
_COMMON = {
    "INFERENCE_NUM_THREADS": 1,
    "NUM_STREAMS": 1,
    "PERFORMANCE_HINT": "LATENCY",
    "INFERENCE_PRECISION_HINT": "f32",
    "ENABLE_CPU_PINNING": False,
}
#: OpenVINO 2026.4.1 dies of a segmentation fault when it fuses element-wise operations of A.
_OF_WORKLOAD = {"A": {"SNIPPETS_MODE": "DISABLE"}}


def float32(workload: str, folder: Path) -> None:
    import openvino
    from openvino._offline_transformations import apply_make_stateful_transformation

    from peers.flat_step import export_onnx

    states = export_onnx(workload, folder / _ONNX).names
    model = openvino.Core().read_model(folder / _ONNX)
    apply_make_stateful_transformation(model, {state: f"next_{state}" for state in states})
    openvino.save_model(model, folder / _FILE, compress_to_fp16=False)
    (folder / _SETTINGS).write_text(json.dumps(_COMMON | _OF_WORKLOAD.get(workload, {})))


def open_step(folder: Path) -> Step:
    import openvino

    settings = json.loads((folder / _SETTINGS).read_text())
    request = openvino.Core().compile_model(folder / _FILE, "CPU", settings).create_infer_request()
    x = np.zeros((1, CHANNELS), np.float32)
    request.set_input_tensor(0, openvino.Tensor(x, shared_memory=True))
    y = request.get_output_tensor(0).data

    def step(frame: np.ndarray) -> np.ndarray:
        x[...] = frame
        request.infer(share_outputs=True)
        return y

    return step
