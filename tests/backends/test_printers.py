"""What Numba and TVM compile from a program gives what the program means in NumPy."""

from __future__ import annotations

import threading
import tracemalloc

import numpy as np
import pytest
from backend_programs import (
    ARITHMETIC,
    Case,
    F,
    Opener,
    cascade,
    differences,
    elementwise,
    expected,
    first_streams,
    load,
    matrix_vectors,
    operations,
    pairs,
    pointwise_differences,
    poisoned,
    run,
)

from millstream_runtime.errors import WrongDtype, WrongShape
from millstream_runtime.program import (
    DTYPES,
    OPERATIONS,
    Access,
    Accumulated,
    AxisIndex,
    Buffer,
    Call,
    Constant,
    Expression,
    Load,
    Lookup,
    Program,
    Reduction,
    Stage,
)

# Sums in another order: at most 96 roundings of 6e-8, of terms that may be larger than their sum.
SUM_BOUND = 1e-5
# The approximations are good to a few units in the last place, and 1.5e-7 absolute for erf.
FUNCTION_BOUND = 1e-6


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_operation_of_every_dtype(opener: Opener, dtype: str) -> None:
    case = elementwise(operations(dtype), pairs(dtype))
    assert pointwise_differences(case, run(opener, case)[0], expected(case)[0], FUNCTION_BOUND) == []


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "uint32"])
def test_integers_wrap_in_the_middle_of_an_expression(opener: Opener, dtype: str) -> None:
    """A wider intermediate result would come out right only if nothing but its low bits counted."""
    a, b, two = load("a", dtype), load("b", dtype), Constant(2, dtype)
    expressions = [
        Call("divide", (Call(name, (a, b), dtype), two), dtype) for name in ("add", "subtract", "multiply")
    ]
    expressions += [
        Call("divide", (Call(name, (a,), dtype), two), dtype) for name in ("negative", "absolute")
    ]
    case = elementwise(expressions, pairs(dtype))
    assert differences(case, run(opener, case)[0], expected(case)[0], 0.0) == []


@pytest.mark.parametrize("name", ["exp", "log", "log1p", "sigmoid", "tanh", "erf"])
def test_approximations_are_good_over_their_whole_range(opener: Opener, name: str) -> None:
    small, near_one = np.geomspace(1e-44, 3e38, 2000), np.linspace(0.7, 1.5, 500)
    x = np.concatenate([np.linspace(-120, 100, 4001), small, near_one]).astype(F)[None]
    case = elementwise([Call(name, (load("a"),), F)], {"a": x})
    got, want = run(opener, case)[0][0], expected(case)[0][0]
    # Relative to each value, not to the largest: denormals may lose their last bits.
    same = (got == want) | (np.isnan(got) & np.isnan(want))
    got, want = got[~same], want[~same]
    assert np.all(np.abs(got - want) <= 4e-7 * np.abs(want) + 1e-44)


def test_floats_keep_their_rules(opener: Opener) -> None:
    """What algebra allows and IEEE 754 does not."""
    x, y, zero = load("a"), load("b"), Constant(0.0, F)
    big = Constant(12582912.0, F)

    def less(a: Expression, b: Expression) -> Call:
        return Call("less", (a, b), "bool")

    expressions = [
        Call("subtract", (x, x), F),
        Call("multiply", (x, zero), F),
        Call("subtract", (Call("add", (x, big), F), big), F),
        Call("subtract", (Call("add", (x, y), F), y), F),
        Call("divide", (x, x), F),
        Call("equal", (x, x), "bool"),
        Call("not", (less(x, y),), "bool"),
        less(Call("add", (x, Constant(1.0, F)), F), x),
        Call("select", (less(x, y), x, Call("divide", (x, zero), F)), F),
    ]
    values = np.array([0, 1, 2.5, -3.5, 0.1, 1e10, np.inf, -np.inf, np.nan, 1e-20], F)
    a, b = (grid.reshape(1, -1) for grid in np.meshgrid(values, values))
    case = elementwise(expressions, {"a": a.copy(), "b": b.copy()})
    assert differences(case, run(opener, case)[0], expected(case)[0], 0.0) == []


def test_matrix_vector_products_of_odd_sizes(opener: Opener) -> None:
    shapes = [(rows, columns) for rows in (1, 2, 3, 37, 64, 130) for columns in (1, 5, 37, 96)]
    case = matrix_vectors(shapes, np.random.default_rng(0), 3)
    assert differences(case, run(opener, case)[0], expected(case)[0], SUM_BOUND) == []


@pytest.mark.parametrize("streams", [1, 3])
def test_stages_that_hand_on_scratch_and_state(opener: Opener, streams: int) -> None:
    case = first_streams(cascade(48, np.random.default_rng(0), 3), streams)
    outputs, states = run(opener, case)
    want_outputs, want_states = expected(case)
    assert differences(case, outputs + states, want_outputs + want_states, SUM_BOUND) == []


def _reductions() -> Case:
    """Each kind of sum over each dtype but float16, which has none, along strided axes walked backwards, and
    one scaled by its index."""
    rng = np.random.default_rng(5)
    inputs, buffers, stages = [], [], []
    for dtype in (dtype for dtype in DTYPES if dtype != "float16"):
        values = rng.standard_normal((2, 60)) * 50
        inputs.append(values > 0 if dtype == "bool" else np.abs(values).astype(dtype))
        buffers.append(Buffer(dtype, "input", dtype, 60))
        for kind in ("max", "min") if dtype == "bool" else ("sum", "product", "max", "min"):
            # Element (i, j, k) of a (4, 3, 5) array from its far end, all of i kept.
            operand = Load(Access(dtype, 59, (-15, -1, -5)), dtype)
            name = f"{kind}.{dtype}"
            buffers.append(Buffer(name, "output", dtype, 8))
            target = Access(name, 1, (2,))
            reduction = Reduction(kind, (5, 3), operand)
            stages.append(Stage(name, (4,), reduction, Accumulated(dtype), target))
            rest = Stage(name, (4,), None, Load(Access(dtype, 7, (11,)), dtype), Access(name, 0, (2,)))
            stages.append(rest)
    return Case(Program(tuple(buffers), tuple(stages), 0, 0), b"", tuple(inputs))


def test_reductions_over_strided_axes(opener: Opener) -> None:
    case = _reductions()
    assert differences(case, run(opener, case)[0], expected(case)[0], SUM_BOUND) == []


def test_lookups_are_clamped_and_axes_are_numbers(opener: Opener) -> None:
    row = Access("table", 0, (0, 1), (Lookup(Load(Access("pick", 0, (1, 0)), "int64"), 4, 3),))
    place = Call(
        "add", (AxisIndex(0), Call("multiply", (AxisIndex(1), Constant(10, "int64")), "int64")), "int64"
    )
    buffers = (
        Buffer("table", "input", F, 12),
        Buffer("pick", "input", "int64", 5),
        Buffer("rows", "output", F, 15),
        Buffer("places", "output", "int64", 15),
    )
    stages = (
        Stage("gather", (5, 3), None, Load(row, F), Access("rows", 0, (3, 1))),
        Stage("place", (5, 3), None, place, Access("places", 0, (3, 1))),
    )
    table = np.arange(12, dtype=F).reshape(1, 12)
    pick = np.array([[-(2**62), -1, 2, 4, 2**62]])
    case = Case(Program(buffers, stages, 0, 0), b"", (table, pick))
    rows, places = run(opener, case)[0]
    assert rows.reshape(5, 3)[:, 0].tolist() == [0, 0, 6, 9, 9]
    assert places.reshape(5, 3).tolist() == [[i + 10 * j for j in range(3)] for i in range(5)]


def _random_expression(rng: np.random.Generator, dtype: str, depth: int) -> Expression:
    if depth == 0 or rng.random() < 0.15:
        if rng.random() < 0.25:
            return Constant(float(rng.normal()) if dtype == F else int(rng.integers(-9, 9)), dtype)
        return load("ab"[rng.integers(2)] + dtype[0], dtype)
    name = str(rng.choice([*ARITHMETIC[:3], "maximum", "minimum", "negative", "absolute", "select", "cast"]))
    other = "int32" if dtype == F else F
    if name == "cast":
        return Call("cast", (_random_expression(rng, other, depth - 1),), dtype)
    if name == "select":
        x, y, z, w = (_random_expression(rng, dtype, depth - 1) for _ in range(4))
        return Call("select", (Call("less", (x, y), "bool"), z, w), dtype)
    operands = tuple(_random_expression(rng, dtype, depth - 1) for _ in range(OPERATIONS[name]))
    return Call(name, operands, dtype)


@pytest.mark.parametrize("seed", [0, 1])
def test_random_expressions(opener: Opener, seed: int) -> None:
    rng = np.random.default_rng(seed)
    expressions = [_random_expression(rng, dtype, 4) for dtype in [F, "int32"] * 12]
    inputs = {name: rng.standard_normal((2, 33)).astype(F) for name in ("af", "bf")}
    inputs |= {name: rng.integers(-1000, 1000, (2, 33)).astype("int32") for name in ("ai", "bi")}
    case = elementwise(expressions, inputs)
    got, want = run(opener, case)[0], expected(case)[0]
    # A float on the edge of two integers may fall to either side once a product is fused: off by one.
    for number, (have, need) in enumerate(zip(got, want, strict=True)):
        scale = 1e-5 * np.abs(need.astype(np.float64)).max()
        bound = scale if need.dtype == F or _holds_cast(expressions[number]) else 0
        assert np.all(np.abs(have.astype(np.float64) - need) <= bound + _holds_cast(expressions[number])), (
            expressions[number]
        )


def _holds_cast(expression: Expression) -> bool:
    if not isinstance(expression, Call):
        return False
    return expression.operation == "cast" or any(map(_holds_cast, expression.operands))


def test_a_call_allocates_nothing(opener: Opener) -> None:
    case = first_streams(cascade(48, np.random.default_rng(0), 3), 1)
    outputs = poisoned(1, case.program.role("output"))
    next_states = poisoned(1, case.program.role("next_state"))
    call = opener(case.program, case.weights).bind(case.inputs, case.states, outputs, next_states)
    call()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(1000):
            call()
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    # The loop's own counter; one leaked int a call would be 28,000 bytes.
    assert grown < 500


def test_bound_calls_share_nothing_but_weights(opener: Opener) -> None:
    whole = cascade(48, np.random.default_rng(0), 3)
    step = opener(whole.program, whole.weights)
    cases = [whole, first_streams(whole, 1)]
    results: dict[int, list[np.ndarray]] = {}

    def work(number: int, case: Case) -> None:
        batch = len(case.inputs[0])
        outputs = poisoned(batch, case.program.role("output"))
        call = step.bind(case.inputs, case.states, outputs, poisoned(batch, case.program.role("next_state")))
        for _ in range(3000):
            call()
        results[number] = outputs

    threads = [threading.Thread(target=work, args=item) for item in enumerate(cases)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, case in enumerate(cases):
        assert differences(case, results[number], expected(case)[0], SUM_BOUND) == []


def test_arrays_that_do_not_fit_are_refused(opener: Opener) -> None:
    case = elementwise([Call("negative", (load("a"),), F)], {"a": np.zeros((2, 4), F)})
    step = opener(case.program, case.weights)
    good = np.zeros((2, 4), F)
    step.bind([good], [], [good.copy()], [])
    with pytest.raises(WrongDtype):
        step.bind([good.astype(np.float64)], [], [good.copy()], [])
    for bad in (np.zeros((2, 5), F), np.zeros((3, 4), F), np.zeros((4, 2), F).T):
        with pytest.raises(WrongShape):
            step.bind([good], [], [bad], [])
    with pytest.raises(WrongShape):
        step.bind([good], [], [], [])
