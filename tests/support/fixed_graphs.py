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

_LSTM = """
step (float[B, 5] input, float[B, 6] hidden, float[B, 6] cell)
  => (float[B, 3] output, float[B, 6] hidden_next, float[B, 6] cell_next) {
  given = Gemm (input, w, w_bias)
  kept = MatMul (hidden, u)
  sums = Add (given, kept)
  sum_i, sum_f, sum_g, sum_o = Split <axis = 1, num_outputs = 4> (sums)
  i = Sigmoid (sum_i)
  f = Sigmoid (sum_f)
  g = Tanh (sum_g)
  o = Sigmoid (sum_o)
  old = Mul (f, cell)
  new = Mul (i, g)
  cell_next = Add (old, new)
  squashed = Tanh (cell_next)
  hidden_next = Mul (o, squashed)
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

#: A gated delta rule: a short convolution, keys of length 1, a decay by softplus in parts, a norm that is
#: written as a power and a division, and an inverse of what is only positive on usual frames.
_DELTA = """
step (float[B, 5] input, float[B, 3, 6] ring, float[B, 2, 3, 3] memory)
  => (float[B, 6] output, float[B, 3, 6] ring_next, float[B, 2, 3, 3] memory_next) {
  frame = MatMul (input, w_key)
  newest = Unsqueeze (frame, one)
  window = Concat <axis = 1> (ring, newest)
  ring_next = Slice (window, one, four, one)
  weighted = Mul (window, taps)
  mixed = ReduceSum <keepdims = 0> (weighted, one)
  heads = Reshape (mixed, by_head)
  squares = Mul (heads, heads)
  total = ReduceSum <keepdims = 1> (squares, last)
  raised = Add (total, epsilon)
  length = Sqrt (raised)
  inverse = Reciprocal (length)
  key = Mul (heads, inverse)
  amount = Gemm (input, w_decay, decay_bias)
  is_large = Greater (amount, twenty)
  soft = Softplus (amount)
  gentle = Where (is_large, amount, soft)
  negative = Neg (gentle)
  decay = Exp (negative)
  factor = Unsqueeze (decay, two_three)
  decayed = Mul (memory, factor)
  column = Unsqueeze (key, three)
  found = MatMul (decayed, column)
  value = MatMul (input, w_value)
  value_heads = Reshape (value, by_head)
  wanted = Unsqueeze (value_heads, three)
  missing = Sub (wanted, found)
  row = Unsqueeze (key, two)
  write = Mul (missing, row)
  memory_next = Add (decayed, write)
  read = MatMul (memory_next, column)
  flat = Squeeze (read, three)
  powers = Pow (flat, exponent)
  mean = ReduceMean <keepdims = 1> (powers, last)
  lifted = Add (mean, epsilon)
  deviation = Sqrt (lifted)
  normed = Div (flat, deviation)
  scaled = Mul (normed, gain)
  row_of_all = Flatten <axis = 1> (scaled)
  positive = Add (value, five)
  slope = Reciprocal (positive)
  output = Mul (row_of_all, slope)
}
"""

#: Leaky integrate-and-fire neurons: a layer that fires at its threshold, a ring of its spikes, and a layer
#: that is silent below its own.
_SPIKING = """
step (float[B, 4] input, float[B, 2, 6] ring, float[B, 6] first, float[B, 3] second)
  => (float[B, 2] output, float[B, 2, 6] ring_next, float[B, 6] first_next, float[B, 3] second_next) {
  current = Gemm (input, w, w_bias)
  apart = Sub (current, first)
  halved = Div (apart, double)
  charged = Add (first, halved)
  fires = GreaterOrEqual (charged, level)
  spike = Cast <to = 1> (fires)
  rest = Sub (unit, spike)
  first_next = Mul (charged, rest)
  newest = Unsqueeze (spike, one)
  window = Concat <axis = 1> (ring, newest)
  ring_next = Slice (window, one, three, one)
  spikes = Flatten <axis = 1> (window)
  driven = MatMul (spikes, v)
  still_apart = Sub (driven, second)
  still_halved = Div (still_apart, double)
  loaded = Add (second, still_halved)
  is_quiet = Less (loaded, half)
  quiet = Cast <to = 1> (is_quiet)
  second_next = Mul (loaded, quiet)
  joined = Concat <axis = 1> (spike, quiet)
  output = MatMul (joined, u)
}
"""


#: A delta rule: keys of length 1, strengths of 2.
REFLECTION = """
step (float[B, 6] input, float[B, 8, 8] memory)
  => (float[B, 8] output, float[B, 8] unit, float[B, 8, 8] memory_next) {
  key = MatMul (input, w_key)
  squares = Mul (key, key)
  total = ReduceSum (squares, last)
  raised = Add (total, epsilon)
  length = Sqrt (raised)
  inverse = Reciprocal (length)
  unit = Mul (key, inverse)
  value = MatMul (input, w_value)
  query = MatMul (input, w_query)
  column = Unsqueeze (unit, last)
  found = MatMul (memory, column)
  wanted = Unsqueeze (value, last)
  missing = Sub (wanted, found)
  error = Mul (missing, strength)
  row = Unsqueeze (unit, one)
  write = Mul (error, row)
  memory_next = Add (memory, write)
  asked = Unsqueeze (query, last)
  read = MatMul (memory_next, asked)
  output = Squeeze (read, last)
}
"""
REFLECTION_FRAME, REFLECTION_WIDTH = 6, 8


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


def lstm() -> StepGraph:
    """Every gate of an LSTM, written out."""
    weights = {"w": (5, 24), "w_bias": (24,), "u": (6, 24), "v": (6, 3), "v_bias": (3,)}
    return step(_LSTM, weights, {}, ["hidden", "cell"])


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


def delta() -> StepGraph:
    """Two heads of a gated delta rule with 3 x 3 states."""
    constants = {
        **{name: np.array([value]) for name, value in (("one", 1), ("two", 2), ("three", 3), ("four", 4))},
        "last": np.array([-1]),
        "two_three": np.array([2, 3]),
        "by_head": np.array([0, 2, 3]),
        **{
            name: np.array(value, np.float32)
            for name, value in (("epsilon", 1e-5), ("twenty", 20), ("exponent", 2), ("five", 5))
        },
        "gain": np.array([[0.5, 1, 2], [1.5, 1, 0.75]], np.float32),
    }
    weights = {
        **dict.fromkeys(("w_key", "w_value"), (5, 6)),
        "taps": (4, 6),
        "w_decay": (5, 2),
        "decay_bias": (2,),
    }
    return step(_DELTA, weights, constants, ["ring", "memory"])


def spiking() -> StepGraph:
    """Six neurons and three that read the spikes of the last three frames."""
    constants = {
        "one": np.array([1]),
        "three": np.array([3]),
        **{
            name: np.array(value, np.float32)
            for name, value in (("unit", 1), ("double", 2), ("level", 0.3), ("half", 0.5))
        },
    }
    weights = {"w": (4, 6), "w_bias": (6,), "v": (18, 3), "u": (9, 2)}
    return step(_SPIKING, weights, constants, ["ring", "first", "second"])


def recurrent() -> StepGraph:
    """Products with and without bias, tanh, and a ReLU."""
    return recurrent_graph(7, 11, 5)


def reflection(text: str = REFLECTION) -> StepGraph:
    """S' = S + 2 (v - S k) k^T with k of length 1, and o = S' q. The last number of a frame drives the values
    alone, the others keys and queries."""
    drive = np.zeros((REFLECTION_FRAME, REFLECTION_WIDTH), np.float32)
    drive[-1] = np.linspace(-1, 1, REFLECTION_WIDTH)
    asking = (
        np.random.default_rng(0).standard_normal((REFLECTION_FRAME, REFLECTION_WIDTH)).astype(np.float32) / 2
    )
    asking[-1] = 0
    constants = {
        **{"w_key": asking, "w_query": asking[:, ::-1].copy(), "w_value": drive},
        **{"epsilon": np.array(1e-6, np.float32), "strength": np.array(2, np.float32)},
        **{"last": np.array([-1]), "one": np.array([1])},
    }
    return step(text, {}, constants, ["memory"])


#: Steps that are smooth, so that a rounding moves them as little as it moves their values; and all.
SMOOTH = {"gru": gru,
    "lstm": lstm, "attention": attention, "shuffle": shuffle, "recurrent": recurrent, "memory": memory,
          "window": window, "delta": delta}  # fmt: skip
GRAPHS = {**SMOOTH, "spiking": spiking}


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
