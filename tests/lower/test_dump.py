"""The listing of a program, read against a small program that has every kind of expression."""

from __future__ import annotations

from millstream.lower.dump import dump
from millstream_runtime.program import (
    Access,
    Accumulated,
    AxisIndex,
    Buffer,
    Call,
    Constant,
    Load,
    Lookup,
    Program,
    Reduction,
    Stage,
    check,
)


def load(buffer: str, dtype: str, *strides: int, offset: int = 0) -> Load:
    return Load(Access(buffer, offset, strides), dtype)


def small_program() -> Program:
    """y = tanh(max over r of w x) of two rows; then one looked-up element, compared with the axis."""
    product = Call("multiply", (load("w", "float32", 3, 1), load("x", "float32", 0, 1, offset=2)), "float32")
    row = Stage(
        "cell/MatMul",
        (2,),
        Reduction("max", (3,), product),
        Call("tanh", (Accumulated("float32"),), "float32"),
        Access("t", 0, (1,)),
    )
    lookup = Lookup(load("n", "int64", 0), 2, 1)
    found = Load(Access("t", 0, (0,), (lookup,)), "float32")
    place = Call("cast", (AxisIndex(0),), "float32")
    value = Call("select", (Call("less", (place, found), "bool"), found, Constant(0.5, "float32")), "float32")
    pick = Stage("Gather", (4,), None, value, Access("y", 3, (-1,)))
    buffers = (
        Buffer("x", "input", "float32", 5),
        Buffer("n", "state", "int64", 1),
        Buffer("y", "output", "float32", 4),
        Buffer("w", "constant", "float32", 6, 64),
        Buffer("t", "scratch", "float32", 2, 16),
    )
    program = Program(buffers, (row, pick), scratch_bytes=24, weight_bytes=88)
    check(program)
    return program


def test_every_buffer_is_listed_with_role_size_and_place() -> None:
    heading, empty, *rest = dump(small_program()).splitlines()
    assert heading == "5 buffers, 2 stages, 88 bytes of weights, 24 bytes of scratch"
    assert empty == ""
    assert [" ".join(line.split()) for line in rest[:5]] == [
        "input x: float32[5], 20 bytes",
        "state n: int64[1], 8 bytes",
        "output y: float32[4], 16 bytes",
        "constant w: float32[6], 24 bytes at 64",
        "scratch t: float32[2], 8 bytes at 16",
    ]


def test_a_stage_is_a_loop_nest_with_its_origin() -> None:
    _, first, second = dump(small_program()).split("\nstage ")
    assert [line.strip() for line in first.splitlines()] == [
        "0: cell/MatMul",
        "for i0 in 0..1:",
        "acc = max over r0 in 0..2 of (w[3*i0 + r0] * x[r0 + 2])",
        "t[i0] = tanh(acc)",
    ]
    assert [line.strip() for line in second.splitlines()] == [
        "1: Gather",
        "for i0 in 0..3:",
        "y[-1*i0 + 3] = select((float32(i0) < t[clamp(n[0], 0, 1)]), t[clamp(n[0], 0, 1)], 0.5)",
    ]
