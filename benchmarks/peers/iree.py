"""IREE compiled for this CPU, on the device that runs in the calling thread; states stay on that device.

The function is invoked below the package's own wrapper, which takes 20 us more.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from frames import Step

_FILE = "step.vmfb"
_MLIR = "step.mlir"
_ONNX = "step.onnx"
_SHAPES = "shapes.json"


def float32(workload: str, folder: Path) -> None:
    from iree import compiler

    from peers.flat_step import export_onnx

    states = export_onnx(workload, folder / _ONNX).arguments()[1:]
    (folder / _SHAPES).write_text(json.dumps([list(state.shape) for state in states]))
    importer = [sys.executable, "-m", "iree.compiler.tools.import_onnx", folder / _ONNX, "-o", folder / _MLIR]
    subprocess.run(importer, check=True)
    compiler.compile_file(
        str(folder / _MLIR),
        input_type="onnx",
        target_backends=["llvm-cpu"],
        extra_args=["--iree-llvmcpu-target-cpu=host", "--iree-opt-level=O3"],
        output_file=str(folder / _FILE),
    )


def open_step(folder: Path) -> Step:
    from iree import runtime

    settings = runtime.Config("local-sync")
    module = runtime.VmModule.mmap(settings.vm_instance, str(folder / _FILE))
    context = runtime.SystemContext(config=settings)
    context.add_vm_module(module)
    function = context.modules[module.name]["main_graph"]
    device = settings.device
    shapes = json.loads((folder / _SHAPES).read_text())
    zeros = [runtime.asdevicearray(device, np.zeros(shape, np.float32)) for shape in shapes]
    states = [array._buffer_view for array in zeros]
    usage = runtime.BufferUsage.DEFAULT | runtime.BufferUsage.MAPPING

    def step(frame: np.ndarray) -> np.ndarray:
        nonlocal states
        x = device.allocator.allocate_buffer_copy(
            memory_type=runtime.MemoryType.DEVICE_LOCAL,
            allowed_usage=usage,
            device=device,
            buffer=frame[None],
            element_type=runtime.HalElementType.FLOAT_32,
        )
        arguments = runtime.VmVariantList(1 + len(states))
        for buffer in (x, *states):
            arguments.push_ref(buffer)
        results = runtime.VmVariantList(1 + len(states))
        context.vm_context.invoke(function.vm_function, arguments, results)
        y, *states = (results.get_as_object(n, runtime.HalBufferView) for n in range(1 + len(states)))
        return y.map().asarray(y.shape, np.dtype(np.float32))

    return step
