"""Small float steps of odd sizes for fixed point, and the frames that they are calibrated on."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
import onnx.numpy_helper
import onnx.parser
from quantized_graphs import recurrent_graph

from millstream.graph import OPSET, StatePair, StepGraph, build
from millstream.quantize import FORMATS, quantize
from millstream.quantize.calibration import Calibration
from millstream.quantize.fixed_point.narrowing import narrowables, widths
from millstream.quantize.fixed_point.rewrite import ready, written
from millstream_hw import circuit
from millstream_hw.circuit import Circuit

_GRU = """
step (float[B, 5] input, float[B, 7] hidden) => (float[B, 3] output, float[B, 7] hidden_next) {
  given = Gemm (input, w, w_bias)
  kept = Gemm (hidden, u, u_bias)
  given_r, given_z, given_n = Split <axis = 1, num_outputs = 3> (given)
  kept_r, kept_z, kept_n = Split <axis = 1, num_outputs = 3> (kept)
  sum_r = Add (given_r, kept_r)
  r = Sigmoid (sum_r)
  sum_z = Add (given_z, kept_z)
  z = Sigmoid (sum_z)
  gated = Mul (r, kept_n)
  sum_n = Add (given_n, gated)
  n = Tanh (sum_n)
  rest = Sub (one, z)
  new = Mul (rest, n)
  old = Mul (z, hidden)
  hidden_next = Add (new, old)
  output = Gemm (hidden_next, v, v_bias)
}
"""

#: Gated linear attention: a matrix state, decayed row by row, written by an outer product, read by a query.
_ATTENTION = """
step (float[B, 5] input, float[B, 4, 3] matrix) => (float[B, 1, 3] output, float[B, 4, 3] matrix_next) {
  query = MatMul (input, w_query)
  key = MatMul (input, w_key)
  value = MatMul (input, w_value)
  drive = Gemm (input, w_decay, decay_bias)
  decay = Sigmoid (drive)
  row_decay = Unsqueeze (decay, two)
  column = Unsqueeze (key, two)
  row = Unsqueeze (value, one)
  kept = Mul (matrix, row_decay)
  written = MatMul (column, row)
  matrix_next = Add (kept, written)
  asked = Unsqueeze (query, one)
  output = MatMul (asked, matrix_next)
}
"""

#: Softmax attention over a window, its exponentials and the inverse of their sum by table: products with
#: several rows.
_WINDOW = """
step (float[B, 4] input, float[B, 2, 4] past) => (float[B, 3, 5] output, float[B, 2, 4] past_next) {
  frame = Unsqueeze (input, one)
  tokens = Concat <axis = 1> (past, frame)
  past_next = Slice (tokens, one, three, one)
  query = MatMul (tokens, w_query)
  key = MatMul (tokens, w_key)
  value = MatMul (tokens, w_value)
  turned = Transpose <perm = [0, 2, 1]> (key)
  score = MatMul (query, turned)
  small = Mul (score, eighth)
  weight = Exp (small)
  mixed = MatMul (weight, value)
  total = ReduceSum (weight, last)
  inverse = Reciprocal (total)
  output = Mul (mixed, inverse)
}
"""

#: States that take each other's places, a window that moves, and functions written out in parts.
_SHUFFLE = """
step (float[B, 3] input, float[B, 3] first, float[B, 3] second, float[B, 2, 3] window)
  => (float[B, 9] output, float[B, 3] first_next, float[B, 3] second_next, float[B, 2, 3] window_next) {
  first_next = Identity (second)
  centred = Sub (input, mean)
  scaled = Mul (centred, spread)
  half_first = Mul (first, half)
  second_next = Add (half_first, scaled)
  frame = Unsqueeze (second_next, one)
  longer = Concat <axis = 1> (window, frame)
  window_next = Slice (longer, one, three, one)
  flat = Flatten <axis = 1> (longer)
  gate = Sigmoid (flat)
  swish = Mul (flat, gate)
  spreaded = Div (swish, root)
  curve = Erf (spreaded)
  raised = Add (curve, unit)
  output = Mul (swish, raised)
}
"""

#: A linear memory that is driven and read, and no function that would need a table.
_MEMORY = """
step (float[B, 3] input, float[B, 5] memory) => (float[B, 2] output, float[B, 5] memory_next) {
  kept = MatMul (memory, a)
  written = Gemm (input, w, w_bias)
  memory_next = Add (kept, written)
  read = MatMul (memory_next, v)
  output = Relu (read)
}
"""


def fixed(graph: StepGraph, frames: np.ndarray) -> StepGraph:
    """The graph in 16 bits, calibrated on frames (T, ...) from states of 0."""
    return quantize(graph, FORMATS["fixed16"], calibration(graph, frames)).graph


def narrow(graph: StepGraph, bits: int) -> StepGraph:
    """The graph in fixed point with so many bits for every value and constant."""
    form = ready(graph, calibration(graph, gaussian(graph)))
    return written(form, widths(dict.fromkeys(narrowables(form), bits)))


def calibration(graph: StepGraph, frames: np.ndarray) -> Calibration:
    """One sequence, from states of 0."""
    return Calibration([frames], zeros(graph))


def zeros(graph: StepGraph) -> list[np.ndarray]:
    """States of 0, without batch dimension."""
    return [np.zeros([n or 1 for n in t.shape[1:]], t.dtype) for t in graph.state_tensors]


def gaussian(graph: StepGraph, count: int = 40, seed: int = 1, spread: float = 1.0) -> np.ndarray:
    """Frames of the graph's input (count, ...)."""
    shape = [n or 1 for n in graph.inputs[0].shape[1:]]
    return (spread * np.random.default_rng(seed).standard_normal((count, *shape))).astype(np.float32)


def circuit_of(graph: StepGraph) -> Circuit:
    """The circuit of the graph in fixed point."""
    return circuit.read(fixed(graph, gaussian(graph)), zeros(graph))


def gru() -> StepGraph:
    """Every gate of a GRU, written out."""
    weights = {"w": (5, 21), "w_bias": (21,), "u": (7, 21), "u_bias": (21,), "v": (7, 3), "v_bias": (3,)}
    return step(_GRU, weights, {"one": np.array(1.0, np.float32)}, ["hidden"])


def attention() -> StepGraph:
    """A gated linear attention with a 4 x 3 state."""
    weights = {"w_query": (5, 4), "w_key": (5, 4), "w_value": (5, 3), "w_decay": (5, 4), "decay_bias": (4,)}
    axes = {"one": np.array([1]), "two": np.array([2])}
    return step(_ATTENTION, weights, axes, ["matrix"])


def shuffle() -> StepGraph:
    """States that read each other, a ring, affine chains, SiLU and an erf."""
    constants = {
        "mean": np.array([0.5, -1, 2], np.float32),
        "spread": np.array([2, 0.5, 1], np.float32),
        **{name: np.array(value, np.float32) for name, value in (("half", 0.5), ("root", 1.5), ("unit", 1))},
        "one": np.array([1]),
        "three": np.array([3]),
    }
    return step(_SHUFFLE, {}, constants, ["first", "second", "window"])


def memory() -> StepGraph:
    """A driven linear memory of 5, read through a ReLU."""
    turn = np.roll(np.eye(5, dtype=np.float32), 1, 0) * np.float32(0.9)
    return step(_MEMORY, {"w": (3, 5), "w_bias": (5,), "v": (5, 2)}, {"a": turn}, ["memory"])


def window() -> StepGraph:
    """Softmax attention among the last three frames."""
    constants = {
        "one": np.array([1]),
        "three": np.array([3]),
        "eighth": np.array(0.125, np.float32),
        "last": np.array([-1]),
    }
    weights = dict.fromkeys(("w_query", "w_key", "w_value"), (4, 5))
    return step(_WINDOW, weights, constants, ["past"])


def recurrent() -> StepGraph:
    """Products with and without bias, tanh, and a ReLU."""
    return recurrent_graph(7, 11, 5)


GRAPHS = {"gru": gru, "attention": attention, "shuffle": shuffle, "recurrent": recurrent, "memory": memory,
          "window": window}  # fmt: skip


def step(
    text: str,
    weights: Mapping[str, tuple[int, ...]],
    constants: Mapping[str, np.ndarray],
    states: list[str],
) -> StepGraph:
    """A graph from its text, with Gaussian weights of these shapes; `name` becomes `name_next`."""
    head = f'<ir_version: 10, opset_import: ["" : {OPSET}]>'
    model = onnx.parser.parse_model(head + text)
    rng = np.random.default_rng(3)
    arrays = {
        name: (rng.standard_normal(shape) / np.sqrt(shape[0])).astype(np.float32)
        for name, shape in weights.items()
    }
    for name, array in {**arrays, **constants}.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    return build(model, [StatePair(name, f"{name}_next") for name in states])
