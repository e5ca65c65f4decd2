"""float16 in memory: every printer widens each of them exactly, and rounds float32 as NumPy does."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import system_steps
from backend_programs import (
    OPENERS,
    Case,
    F,
    Opener,
    contract_of,
    differences,
    elementwise,
    expected,
    load,
    open_opencl,
    run,
)

from millstream.lower import lower
from millstream.quantize.states.storages import FLOAT16
from millstream.quantize.states.writing import narrowed
from millstream_runtime.batched import STREAMS
from millstream_runtime.core import Core
from millstream_runtime.errors import PlanInvalid
from millstream_runtime.nonfinite import propagate
from millstream_runtime.pool import Pool
from millstream_runtime.program import (
    Access,
    Accumulated,
    Buffer,
    Call,
    Constant,
    Expression,
    Kept,
    Load,
    Program,
    Reduction,
    Stage,
    Stored,
    check,
)
from millstream_runtime.stream import Stream

H = "float16"
EVERY = np.arange(1 << 16, dtype=np.uint16).view(H)

openers = pytest.mark.parametrize("opener", [*OPENERS.values(), open_opencl], ids=[*OPENERS, "opencl"])


def cast(value: Expression, dtype: str) -> Call:
    return Call("cast", (value,), dtype)


def same_bits(got: np.ndarray, want: np.ndarray) -> np.ndarray:
    """Where two arrays of floats are equal to the bit, or both NaN."""
    word = f"uint{8 * want.itemsize}"
    return (got.view(word) == want.view(word)) | (np.isnan(got) & np.isnan(want))


def hard_to_round() -> np.ndarray:
    """Every float16 as float32, the middle between two of them, the neighbours of all these, and float32 too
    small and too large."""
    exact = np.unique(EVERY[np.isfinite(EVERY)].astype(F))
    middles = ((exact[1:].astype(np.float64) + exact[:-1]) / 2).astype(F)
    beyond = np.array([65519.996, 65520, 65536, 1e38, np.inf, np.nan, 1e-45, 1e-40, 2.0**-26, -0.0], F)
    found = np.concatenate([exact, middles, beyond, -beyond])
    with np.errstate(over="ignore"):
        up, down = (np.nextafter(found, np.float32(to)) for to in (np.inf, -np.inf))
    return np.concatenate([found, up, down])


@openers
def test_every_float16_becomes_the_float32_that_equals_it(opener: Opener) -> None:
    # One less than all: the last few are no whole vector.
    case = elementwise([cast(load("a", H), F)], {"a": EVERY[None, :-1].copy()})
    ((got,), _), want = run(opener, case), EVERY[None, :-1].astype(F)
    assert same_bits(got, want).all()


@openers
def test_float32_goes_to_the_nearest_float16(opener: Opener) -> None:
    x = hard_to_round()[None]
    (got,), _ = run(opener, elementwise([cast(load("a"), H)], {"a": x}))
    with np.errstate(over="ignore"):
        want = x.astype(H)
    wrong = ~same_bits(got, want)
    assert not wrong.any(), x[wrong][:5]
    assert np.isinf(want).any()
    assert (np.abs(want[want != 0].astype(F)) < 2.0**-14).any()


def recurrence(rows: int, columns: int, kind: str = "sum", streams: int = 3) -> Case:
    """state' (rows, columns) = state / 2 + x, in float16 between two steps; y = sum, or the like, of the
    state before it is rounded, times c.

    Sums of two float16 of like magnitude are exact in float32.
    """
    axes = (columns, 1)
    state, after = (Access(name, 0, axes) for name in ("state", "after"))
    half = Call("multiply", (cast(Load(state, H), F), Constant(0.5, F)), F)
    value = Call("add", (half, Load(Access("x", 0, axes), F)), F)
    term = Call("multiply", (Stored(F), Load(Access("c", 0, (0, 1)), F)), F)
    reduction = Reduction(kind, (columns,), term, Kept(cast(value, H), after))
    buffers = (
        Buffer("x", "input", F, rows * columns),
        Buffer("c", "input", F, columns),
        Buffer("state", "state", H, rows * columns),
        Buffer("y", "output", F, rows),
        Buffer("after", "next_state", H, rows * columns),
    )
    result = Stage("read", (rows,), reduction, Accumulated(F), Access("y", 0, (1,)))
    rng = np.random.default_rng(columns)
    x, before = (rng.uniform(1, 2, (streams, rows * columns)).astype(H) for _ in range(2))
    c = rng.choice([-1, 1], (streams, columns)).astype(F)
    return Case(Program(buffers, (result,), 0, 0), b"", (x.astype(F), c), (before,))


@openers
@pytest.mark.parametrize("kind", ["sum", "max", "product"])
@pytest.mark.parametrize(("rows", "columns"), [(1, 3), (5, 7), (24, 16), (3, 40), (16, 4)])
def test_a_reduction_goes_on_with_what_it_rounds(opener: Opener, rows: int, columns: int, kind: str) -> None:
    case = recurrence(rows, columns, kind)
    got, want = run(opener, case), expected(case)
    np.testing.assert_array_equal(got[1][0].view(np.uint16), want[1][0].view(np.uint16))
    assert differences(case, got[0], want[0], 1e-6) == []
    # Had it gone on with what it kept, it would show.
    _, c = case.inputs
    kept = want[1][0].astype(F).reshape(3, rows, columns) * c[:, None]
    read = {"sum": np.sum, "max": np.max, "product": np.prod}[kind](kept, 2)
    assert np.abs(read / want[0][0] - 1).max() > 1e-5


@pytest.mark.parametrize(
    "wrong",
    [
        Constant(1.0, H),
        Call("add", (load("a", H), load("a", H)), H),
        Call("select", (Call("equal", (load("b"), load("b")), "bool"), load("a", H), load("a", H)), H),
        Call("is_nan", (load("a", H),), "bool"),
        cast(load("a", H), "int32"),
        cast(load("a", H), H),
        cast(Call("add", (load("b"), load("b")), F), "bfloat16"),
    ],
    ids=["constant", "add", "select", "is_nan", "to an integer", "to itself", "to another"],
)
def test_a_program_that_computes_in_float16_is_refused(wrong: Expression) -> None:
    given = {"a": EVERY[None, :8].copy(), "b": np.ones((1, 8), F)}
    check(elementwise([cast(load("a", H), F), cast(load("b"), H)], given).program)
    with pytest.raises(PlanInvalid):
        check(elementwise([wrong], given).program)


def test_a_reduction_in_float16_is_refused() -> None:
    case = recurrence(2, 4)
    (stage,) = case.program.stages
    reduction = Reduction("max", (4,), Load(Access("state", 0, (4, 1)), H))
    stages = (replace(stage, reduction=reduction, value=Constant(0.0, F)),)
    with pytest.raises(PlanInvalid, match="a reduction in float16"):
        check(replace(case.program, stages=stages))


@openers
def test_streams_have_the_same_bits_alone_together_and_in_chunks(opener: Opener) -> None:
    """A ring and a memory that is updated, rounded and read out in one pass."""
    graph = system_steps.graph_of("mamba")
    lowered = lower(narrowed(graph, {pair.name: FLOAT16 for pair in graph.states}))
    contract = contract_of(lowered.program)
    core = Core(contract.spec, opener(lowered.program, lowered.weights), contract.initial, "test")
    frames = np.random.default_rng(0).standard_normal((40, STREAMS + 3, 12)).astype(F)
    alone, pool = [Stream(core, propagate) for _ in frames[0]], Pool(core, STREAMS + 3, propagate)
    # Results lie in memory that the next step uses again.
    stepped = [[np.array(one.step(x)) for one, x in zip(alone, row, strict=True)] for row in frames]
    np.testing.assert_array_equal([np.array(pool.step(row)) for row in frames], stepped)
    pushed = [Stream(core, propagate).push(frames[:, row].copy()) for row in range(STREAMS + 3)]
    np.testing.assert_array_equal(np.stack(pushed, 1), stepped)
    assert [pool.save(row) for row in (0, STREAMS)] == [alone[row].save() for row in (0, STREAMS)]
