"""LiteRT with XNNPACK, one thread: the interpreter on views of its own tensors.

int8 is dynamic range quantization, the recipe `dynamic_wi8_afp32`: int8 weights per channel, activations
quantized at every step. Of the quantizer's recipes it gave the fastest correct step. Static int8
(`static_wi8_ai8`) is at most a tenth faster where products dominate and takes 1.4 to 2 times as long in
recurrences, and its int8 states put the outputs 14 to 33 % off. States go in and out one by one: stacked or
packed into one tensor they take as long, within a twentieth.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from frames import Step

if TYPE_CHECKING:
    from ai_edge_litert.interpreter import Interpreter

_FILE = "step.tflite"
_FLOAT_FILE = "float32.tflite"


def float32(workload: str, folder: Path) -> None:
    _convert(workload, folder / _FILE)


def dynamic_int8(workload: str, folder: Path) -> None:
    from ai_edge_quantizer import quantizer, recipe

    _convert(workload, folder / _FLOAT_FILE)
    made = quantizer.Quantizer(str(folder / _FLOAT_FILE))
    made.load_quantization_recipe(recipe.dynamic_wi8_afp32())
    made.quantize().export_model(str(folder / _FILE))


def open_step(folder: Path) -> Step:
    """The interpreter's public `invoke` refuses to run while views are held, so the one below it is called.

    With `set_tensor` and `get_tensor` the same step takes 2 to 5 us longer; the `CompiledModel` of the same
    package takes 5 to 10 us longer.
    """
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(folder / _FILE), num_threads=1)
    interpreter.allocate_tensors()
    signature = interpreter.get_signature_runner()
    inputs = _views(interpreter, signature.get_input_details())
    outputs = _views(interpreter, signature.get_output_details())
    x, y, invoke = inputs[0], outputs[0], interpreter._interpreter.Invoke
    carried = tuple(zip(inputs[1:], outputs[1:], strict=True))
    for state, _ in carried:
        state[...] = 0

    def step(frame: np.ndarray) -> np.ndarray:
        x[...] = frame
        invoke()
        for state, after in carried:
            state[...] = after
        return y

    return step


def _convert(workload: str, file: Path) -> None:
    import litert_torch

    from peers.flat_step import flat_step

    step = flat_step(workload)
    litert_torch.convert(step, step.arguments()).export(str(file))


def _views(interpreter: Interpreter, details: dict[str, dict[str, Any]]) -> list[np.ndarray]:
    """The tensors of a signature in the order of the step's arguments: args_0, args_1, and so on."""
    names = sorted(details, key=lambda name: int(name.rpartition("_")[2]))
    return [interpreter.tensor(details[name]["index"])() for name in names]
