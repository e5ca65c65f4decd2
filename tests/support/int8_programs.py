"""Exact products of int8 for the tests of all printers: every value that int8 has, sizes of every kind."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from backend_programs import Case, Weights

from millstream_runtime.program import (
    Access,
    Accumulated,
    Buffer,
    Call,
    Constant,
    Expression,
    Load,
    Program,
    Reduction,
    Stage,
)

Range = tuple[int, int]
INT8: Range = (-128, 127)


def wide(x: Expression) -> Expression:
    """An int8 as int32."""
    return Call("cast", (x,), "int32")


def products(shapes: Sequence[tuple[int, int, int]], batch: int, held: Range = INT8) -> Case:
    """y[m, n] = sum over k of x[m, k] w[n, k] in int32 for each (rows, lanes, terms).

    Weights are stored both ways round and stand on either side of the product; `held` are their lowest and
    their highest. Half of the streams hold only the extremes of int8, so that no instruction that saturates
    in between comes through.
    """
    rng = np.random.default_rng(0)
    weights, buffers, stages, inputs = Weights(), [], [], []
    for number, (rows, lanes, terms) in enumerate(shapes):
        x = f"x{number}"
        buffers.append(Buffer(x, "input", "int8", rows * terms))
        values = rng.integers(-128, 128, (batch, rows * terms))
        values[::2] = rng.choice([-128, 127], values[::2].shape)
        inputs.append(values.astype(np.int8))
        for transposed in (False, True):
            name = f"w{number}{'t' * transposed}"
            matrix = rng.integers(held[0], held[1] + 1, (lanes, terms))
            matrix[::3] = rng.choice(held, matrix[::3].shape)
            weights.add(name, matrix.astype(np.int8).ravel())
            strides = (0, 1, lanes) if transposed else (0, terms, 1)
            factors = [wide(Load(Access(x, 0, (terms, 0, 1)), "int8"))]
            factors.insert(transposed, wide(Load(Access(name, 0, strides), "int8")))
            product = Reduction("sum", (terms,), Call("multiply", tuple(factors), "int32"))
            target = Access(f"{name}.y", 0, (lanes, 1))
            buffers.append(Buffer(f"{name}.y", "output", "int32", rows * lanes))
            stages.append(Stage(name, (rows, lanes), product, Accumulated("int32"), target))
    program = Program((*buffers, *weights.buffers), tuple(stages), 0, len(weights.blob))
    return Case(program, weights.blob, tuple(inputs))


def convolution(held: Range = INT8) -> Case:
    """y[t, n] = sum over taps and channels of x[t + tap, channel] w[n, tap, channel], windows overlapping."""
    rng = np.random.default_rng(1)
    frames, taps, channels, lanes = 5, 3, 7, 20
    weights = Weights()
    weights.add("w", rng.integers(held[0], held[1] + 1, lanes * taps * channels).astype(np.int8))
    x = rng.integers(-128, 128, (3, (frames + taps - 1) * channels)).astype(np.int8)
    factors = (
        wide(Load(Access("x", 0, (channels, 0, channels, 1)), "int8")),
        wide(Load(Access("w", 0, (0, taps * channels, channels, 1)), "int8")),
    )
    product = Reduction("sum", (taps, channels), Call("multiply", factors, "int32"))
    value = Call("subtract", (Accumulated("int32"), Constant(5, "int32")), "int32")
    stage = Stage("convolution", (frames, lanes), product, value, Access("y", 0, (lanes, 1)))
    buffers = (
        Buffer("x", "input", "int8", x.shape[1]),
        Buffer("y", "output", "int32", frames * lanes),
        *weights.buffers,
    )
    return Case(Program(buffers, (stage,), 0, len(weights.blob)), weights.blob, (x,))


def recurrence(width: int = 37, hidden: int = 53, lanes: int = 29) -> Case:
    """A step of nothing but integers:

    next = int8(min(max((u x + r state) / 64, -128), 127)); y = v next.
    """
    rng = np.random.default_rng(2)
    weights = Weights()
    for name, size in (("u", hidden * width), ("r", hidden * hidden), ("v", lanes * hidden)):
        weights.add(name, rng.integers(-128, 128, size).astype(np.int8))
    driven = Call("add", (Accumulated("int32"), Load(Access("drive", 0, (1,)), "int32")), "int32")
    value = Call("divide", (driven, Constant(64, "int32")), "int32")
    for operation, limit in (("maximum", -128), ("minimum", 127)):
        value = Call(operation, (value, Constant(limit, "int32")), "int32")
    narrow = Call("cast", (value,), "int8")
    plain = Accumulated("int32")
    stages = (
        Stage("drive", (hidden,), _product("x", "u", width), plain, Access("drive", 0, (1,))),
        Stage("state", (hidden,), _product("state", "r", hidden), narrow, Access("next", 0, (1,))),
        Stage("read", (lanes,), _product("next", "v", hidden), plain, Access("y", 0, (1,))),
    )
    buffers = (
        Buffer("x", "input", "int8", width),
        Buffer("state", "state", "int8", hidden),
        Buffer("y", "output", "int32", lanes),
        Buffer("next", "next_state", "int8", hidden),
        Buffer("drive", "scratch", "int32", hidden, 0),
        *weights.buffers,
    )
    x, state = (rng.integers(-128, 128, (3, size)).astype(np.int8) for size in (width, hidden))
    return Case(Program(buffers, stages, 4 * hidden, len(weights.blob)), weights.blob, (x,), (state,))


def _product(source: str, matrix: str, terms: int) -> Reduction:
    """sum over k of source[k] matrix[n, k]"""
    factors = (
        wide(Load(Access(source, 0, (0, 1)), "int8")),
        wide(Load(Access(matrix, 0, (terms, 1)), "int8")),
    )
    return Reduction("sum", (terms,), Call("multiply", factors, "int32"))


#: (rows, lanes, terms)
SHAPES = [(1, 1, 37), (1, 3, 128), (1, 4, 4), (1, 37, 1), (1, 37, 37), (1, 64, 3), (1, 130, 130)]
SHAPES += [(3, 37, 37), (7, 64, 12), (2, 1, 40)]
