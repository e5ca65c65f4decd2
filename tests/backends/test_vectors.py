"""What printers do in vectors of several dtypes: quantized maps, largest values, sums of int8 weights."""

from __future__ import annotations

import numpy as np
import pytest
from backend_programs import Case, F, Opener, Weights, differences, elementwise, expected, load, run
from int8_programs import wide

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

#: Whole vectors, powers of two below them, and a rest.
SIZES = (1, 3, 4, 16, 37, 64, 130)
AWKWARD = (0.0, -0.0, np.nan, np.inf, -np.inf, 3e9, -3e9, 126.5, 127.5, -127.5, -128.5, 0.5, 1.5, 254.6)


def _values(count: int) -> np.ndarray:
    """(2, count): ordinary numbers, and awkward ones over and over."""
    ordinary = np.random.default_rng(0).normal(0, 100, count)
    return np.stack([ordinary, np.resize(AWKWARD, count)]).astype(F)


@pytest.mark.parametrize("size", SIZES)
def test_floats_rounded_to_small_integers_and_back(opener: Opener, size: int) -> None:
    rounded = Call("round", (load("a"),), F)
    expressions: list[Expression] = [
        Call("cast", (x,), dtype) for x in (load("a"), rounded) for dtype in ("int8", "uint8", "int32")
    ]
    eight = Call("cast", (rounded,), "int8")
    expressions += [
        Call("multiply", (Call("cast", (eight,), F), Constant(0.25, F)), F),
        Call("add", (wide(eight), Constant(7, "int32")), "int32"),
        Call("maximum", (wide(eight), Constant(-3, "int32")), "int32"),
        Call(
            "select",
            (Call("less", (load("a"), Constant(1.0, F)), "bool"), wide(eight), load("n", "int32")),
            "int32",
        ),
    ]
    case = elementwise(
        expressions, {"a": _values(size), "n": np.arange(2 * size, dtype=np.int32).reshape(2, -1)}
    )
    assert differences(case, run(opener, case)[0], expected(case)[0], 0) == []


def _reductions(size: int) -> Case:
    """The largest and smallest of a row and of a column, of plain and of absolute values."""
    rows = 5
    x = np.concatenate([_values(size)[:1].repeat(rows, 0), _values(size)[1:].repeat(rows, 0)])
    inputs = np.stack([x[:rows], np.roll(x[rows:], 1, axis=1)]).reshape(2, -1)
    buffers, stages = [Buffer("x", "input", F, rows * size)], []
    for kind in ("max", "min"):
        for name, operand in (("plain", None), ("absolute", "absolute")):
            for way, extents, inner, strides in (
                ("row", (rows,), (size,), (size, 1)),
                ("column", (size,), (rows,), (1, size)),
            ):
                element: Expression = Load(Access("x", 0, strides), F)
                term = Call(operand, (element,), F) if operand else element
                target = f"{kind}.{name}.{way}"
                buffers.append(Buffer(target, "output", F, extents[0]))
                value = Call("multiply", (Accumulated(F), Constant(2.0, F)), F)
                stages.append(
                    Stage(target, extents, Reduction(kind, inner, term), value, Access(target, 0, (1,)))
                )
    return Case(Program(tuple(buffers), tuple(stages), 0, 0), b"", (inputs.astype(F),))


@pytest.mark.parametrize("size", SIZES)
def test_the_largest_and_smallest_are_exact_and_nan_passes_on(opener: Opener, size: int) -> None:
    case = _reductions(size)
    assert differences(case, run(opener, case)[0], expected(case)[0], 0) == []


@pytest.mark.parametrize("shape", [(1, 40), (37, 37), (130, 64), (64, 3)])
def test_sums_with_int8_weights(opener: Opener, shape: tuple[int, int]) -> None:
    rows, columns = shape
    rng, weights = np.random.default_rng(0), Weights()
    weights.add("w", rng.integers(-128, 128, rows * columns).astype(np.int8))
    factors = (
        Call("cast", (Load(Access("w", 0, (columns, 1)), "int8"),), F),
        Load(Access("x", 0, (0, 1)), F),
    )
    product = Reduction("sum", (columns,), Call("multiply", factors, F))
    stage = Stage("w", (rows,), product, Accumulated(F), Access("y", 0, (1,)))
    buffers = (Buffer("x", "input", F, columns), Buffer("y", "output", F, rows), *weights.buffers)
    x = rng.standard_normal((2, columns)).astype(F)
    case = Case(Program(buffers, (stage,), 0, len(weights.blob)), weights.blob, (x,))
    assert differences(case, run(opener, case)[0], expected(case)[0], 1e-5) == []


@pytest.mark.parametrize("step", [-3, -1, 0, 1, 2])
@pytest.mark.parametrize("size", SIZES)
def test_vectors_read_at_every_stride(opener: Opener, size: int, step: int) -> None:
    """y[i] = x[begin + i * step], backwards too."""
    reach = (size - 1) * abs(step)
    source = Load(Access("x", reach if step < 0 else 0, (step,)), F)
    stage = Stage("read", (size,), None, source, Access("y", 0, (1,)))
    program = Program((Buffer("x", "input", F, reach + 1), Buffer("y", "output", F, size)), (stage,), 0, 0)
    case = Case(program, b"", (_values(reach + 1),))
    assert differences(case, run(opener, case)[0], expected(case)[0], 0) == []
