"""The C sources of small programs: every operation on other machines, awkward names, exact numbers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from backend_programs import (
    Case,
    F,
    Weights,
    contract_of,
    differences,
    elementwise,
    expected,
    load,
    open_c,
    operations,
    pairs,
    pointwise_differences,
    run,
)
from c_machines import MACHINES, Sources, host

from millstream import targets
from millstream.targets import Contract
from millstream.targets import c as c_half
from millstream.targets.c.layout import layout, record
from millstream.targets.c.names import comment, identifiers
from millstream_runtime.errors import BackendMissing, BackendRefused
from millstream_runtime.program import (
    DTYPES,
    Access,
    Buffer,
    Call,
    Constant,
    Expression,
    Program,
    Stage,
)
from millstream_runtime.spec import Machine, TargetSpec

# Functions of a few units in the last place, on every C library.
FUNCTION_BOUND = 1e-6


def _extracted(case: Case, contract: Contract, folder: Path) -> Sources:
    """The sources of a case in a folder."""
    for name, data in c_half.compile_program(case.program, case.weights, contract).files.items():
        (folder / name).write_bytes(data)
    return Sources(folder, layout(contract.spec).prefix)


def _run_on(machine: str, case: Case, folder: Path) -> list[np.ndarray]:
    """The outputs (frames, n) of a stateless case, whose rows are frames one after the other."""
    contract = contract_of(case.program)
    structs = layout(contract.spec)
    count = len(case.inputs[0])
    given = np.zeros(count, record(structs.input))
    for member, values in zip(structs.input, case.inputs, strict=True):
        given[member.name] = values
    results = MACHINES[machine](_extracted(case, contract, folder), given.tobytes())
    got = np.frombuffer(results, record(structs.output), count)
    return [got[member.name] for member in structs.output]


@pytest.mark.parametrize("machine", ["host", "cortex-m7", "riscv64"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_operation_on_other_machines(machine: str, dtype: str, tmp_path: Path) -> None:
    """On the host with undefined behaviour watched, on a machine of 32 bits, and on another of 64."""
    case = elementwise(_with_power(dtype), pairs(dtype))
    assert (
        pointwise_differences(case, _run_on(machine, case, tmp_path), expected(case)[0], FUNCTION_BOUND) == []
    )


def _with_power(dtype: str) -> list[Expression]:
    """The operations of every printer, and the power of integers up to 32 bits: what is exact in float64."""
    found = operations(dtype)
    if dtype in ("int8", "uint8", "int16", "uint16", "int32", "uint32"):
        found.append(Call("power", (load("a", dtype), load("b", dtype)), dtype))
    return found


@pytest.mark.parametrize("dtype", ["uint8", "uint32", "uint64"])
def test_a_comparison_that_is_always_true_is_no_warning(dtype: str, tmp_path: Path) -> None:
    a, zero = load("a", dtype), Constant(0, dtype)
    expressions = [
        Call(name, operands, "bool")
        for name in ("less", "less_equal", "greater", "greater_equal", "equal")
        for operands in ((a, zero), (zero, a), (a, a))
    ]
    case = elementwise(expressions, pairs(dtype))
    assert differences(case, _run_on("host", case, tmp_path), expected(case)[0], 0) == []


@pytest.mark.parametrize("dtype", [d for d in DTYPES if d != "bool"])
def test_constants_read_back_to_the_bit(dtype: str) -> None:
    raw = np.random.default_rng(0).integers(0, 256, 4096, np.uint8).view(dtype)
    limits = np.finfo(dtype) if dtype.startswith("float") else np.iinfo(dtype)
    values = np.concatenate([raw, np.array([limits.min, limits.max, 0], dtype)])
    if dtype.startswith("float"):
        tiny = np.finfo(dtype)
        awkward = np.array([-0.0, np.inf, -np.inf, tiny.smallest_subnormal, tiny.tiny], dtype)
        values = np.concatenate([values[~np.isnan(values)], awkward])
    weights = Weights()
    weights.add("w", values)
    size = values.size
    buffers = (Buffer("x", "input", F, 1), Buffer("y", "output", dtype, size), *weights.buffers)
    stage = Stage("copy", (size,), None, load("w", dtype), Access("y", 0, (1,)))
    case = Case(
        Program(buffers, (stage,), 0, len(weights.blob)), weights.blob, (np.zeros((1, 1), np.float32),)
    )
    assert run(open_c, case)[0][0].tobytes() == values.tobytes()


def test_constants_inside_expressions_are_exact_and_keep_their_sign(tmp_path: Path) -> None:
    values = [0.1, -0.0, -1.5, 1e-45, 3.4028235e38, float("inf"), float("-inf"), float("nan")]
    expressions: list[Expression] = [Call("negative", (Constant(value, F),), F) for value in values]
    expressions += [Call("subtract", (load("a"), Constant(value, F)), F) for value in values]
    expressions += [
        Call("negative", (Constant(v, "int64"),), "int64") for v in (-(2**63), 2**63 - 1, 2**53 + 1)
    ]
    case = elementwise(expressions, {"a": np.zeros((1, 2), F)})
    got, want = _run_on("host", case, tmp_path), expected(case)[0]
    assert differences(case, got, want, 0) == []
    assert [np.signbit(g).tolist() for g in got[:2]] == [np.signbit(w).tolist() for w in want[:2]]


def test_hostile_names_stay_names(tmp_path: Path) -> None:
    names = ["int", "a.b", "a_b", "*/ }", "INFINITY", "9", "", "état", "//", "in", "x\nint main"]
    buffers = [Buffer(name, "input", F, 3) for name in names]
    buffers += [Buffer(f"{name}'", "output", F, 3) for name in names]
    stages = [
        Stage(
            "*/ state-> #error /* \\", (3,), None, Call("negative", (load(n),), F), Access(f"{n}'", 0, (1,))
        )
        for n in names
    ]
    rows = tuple(np.full((2, 3), number, F) for number in range(len(names)))
    case = Case(Program(tuple(buffers), tuple(stages), 0, 0), b"", rows)
    spec = replace(contract_of(case.program).spec, name="3*/ while(1) model\n#")
    structs = layout(spec)
    given = np.zeros(2, record(structs.input))
    for member, row in zip(structs.input, rows, strict=True):
        given[member.name] = row
    sources = _extracted(case, Contract(spec, ()), tmp_path)
    got = np.frombuffer(host(sources, given.tobytes()), record(structs.output), 2)
    assert [got[m.name][0, 0] for m in structs.output] == [-number for number in range(len(names))]


def test_names_are_different_and_comments_end_once() -> None:
    made = identifiers(["a", "A", "a.", "a_2", "for", "for_"])
    assert len(set(made)) == len(made)
    assert made[0] == "a"
    assert comment("x */ y /* z\n").count("*/") == 1


@pytest.mark.parametrize(
    "values",
    [
        np.zeros(3, F),
        np.full(3, -0.0, F),
        np.full(3, np.nan, F),
        np.arange(3, dtype=np.int64) - 2**62,
        np.array([True, False, True]),
        np.full(3, 0.1),
    ],
    ids=lambda values: f"{values.dtype}-{values[0]}",
)
def test_a_stream_starts_from_the_initial_state(values: np.ndarray, tmp_path: Path) -> None:
    dtype = values.dtype.name
    buffers = (
        Buffer("x", "input", F, 1),
        Buffer("before", "state", "int32", 1),
        Buffer("s", "state", dtype, 3),
        Buffer("y", "output", F, 1),
        Buffer("after", "next_state", "int32", 1),
        Buffer("t", "next_state", dtype, 3),
    )
    case = Case(Program(buffers, (), 0, 0), b"", ())
    contract = contract_of(case.program)
    contract = Contract(contract.spec, (np.array([7], np.int32), values))
    (state,) = np.frombuffer(
        host(_extracted(case, contract, tmp_path), b""), record(layout(contract.spec).state)
    )
    assert state["before"] == 7
    assert state["s"].tobytes() == values.tobytes()


def test_the_same_program_gives_the_same_sources() -> None:
    case = elementwise(operations(F), pairs(F))
    contract = contract_of(case.program)
    first, second = (c_half.compile_program(case.program, b"", contract).files for _ in range(2))
    assert first == second


def test_what_cannot_be_opened_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    case = elementwise([Call("negative", (load("a"),), F)], {"a": np.zeros((1, 2), F)})
    contract = contract_of(case.program)
    made = c_half.compile_program(case.program, b"", contract)
    target = TargetSpec("c", "c", (), made.tolerance, made.memory, Machine())
    with pytest.raises(BackendRefused, match="expected"):
        c_half.open({**made.files, "step.c": b"this is no C"}, contract.spec, target)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert c_half.missing(targets.target("c")) == ("apt install gcc libc6-dev",)
    with pytest.raises(BackendMissing, match="apt install"):
        c_half.open(made.files, contract.spec, target)
