"""Small programs, data for them, and what they must give: shared by the tests of all printers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from millstream.lower.execute import execute
from millstream.targets import Compiled, Contract
from millstream.targets import c as c_half
from millstream.targets import numba as numba_half
from millstream.targets import opencl as opencl_half
from millstream.targets import tvm as tvm_half
from millstream.targets.tvm.levels import level_of
from millstream_runtime.backends import Step
from millstream_runtime.backends import numba as numba_run
from millstream_runtime.backends import opencl as opencl_run
from millstream_runtime.backends import tvm as tvm_run
from millstream_runtime.program import (
    DTYPES,
    OPERATIONS,
    Access,
    Accumulated,
    Buffer,
    Call,
    Constant,
    Expression,
    Load,
    Lookup,
    Program,
    Reduction,
    Stage,
    check,
    item_size,
)
from millstream_runtime.spec import ModelSpec, StateSpec, TargetSpec, TensorSpec

F = "float32"

_LOGIC = ("and", "or", "xor", "not")
_BITS = ("bit_and", "bit_or", "bit_xor")
_ROUNDING = ("floor", "ceil", "round")
_BOOLEAN = ("less", "less_equal", "greater", "greater_equal", "equal", "not_equal", "is_nan")
ARITHMETIC = ("add", "subtract", "multiply", "divide", "floor_mod", "truncated_mod")
_INTEGER = (*ARITHMETIC, *_BITS, *_ROUNDING, *_BOOLEAN[:-1], "maximum", "minimum")
_INTEGER = (*_INTEGER, "negative", "absolute", "sign")
_FLOAT = tuple(set(OPERATIONS) - {*_LOGIC, *_BITS, "shift_right", "cast", "select"})
_BOOL = (*_LOGIC, "equal", "not_equal", "maximum", "minimum")


@dataclass(frozen=True)
class Case:
    """A program with its weights, and arrays of one batch."""

    program: Program
    weights: bytes
    inputs: tuple[np.ndarray, ...]
    states: tuple[np.ndarray, ...] = ()


Opener = Callable[[Program, bytes], Step]


@cache
def open_numba(program: Program, weights: bytes) -> Step:
    """Through the bytes that a bundle would hold."""
    compiled = numba_half.compile_program(program, weights)
    return numba_run.open(compiled.files, SPEC, _target("numba", compiled))


@cache
def open_tvm(program: Program, weights: bytes) -> Step:
    """Through the bytes that a bundle would hold."""
    compiled = tvm_half.compile_program(program, weights, level_of("cpu"))
    return tvm_run.open(compiled.files, SPEC, _target("tvm", compiled))


@cache
def open_c(program: Program, weights: bytes) -> Step:
    """Through the sources that a bundle would hold, and the host's compiler."""
    contract = contract_of(program)
    compiled = c_half.compile_program(program, weights, contract)
    return c_half.open(compiled.files, contract.spec, _target("c", compiled))


@cache
def open_opencl(program: Program, weights: bytes) -> Step:
    """Through the kernels that a bundle would hold, and the OpenCL device of this host."""
    compiled = opencl_half.compile_program(program, weights)
    return opencl_run.open(compiled.files, SPEC, _target("opencl", compiled))


def contract_of(program: Program) -> Contract:
    """What a model of this program would say of itself; states start from zero."""

    def tensors(role: str) -> tuple[TensorSpec, ...]:
        return tuple(TensorSpec(b.name, (b.size,), b.dtype) for b in program.role(role))

    pairs = zip(program.role("state"), program.role("next_state"), strict=True)
    states = tuple(StateSpec(s.name, n.name, (s.size,), s.dtype, 0) for s, n in pairs)
    initial = tuple(np.zeros(s.size, s.dtype) for s in program.role("state"))
    return Contract(ModelSpec("test", tensors("input"), tensors("output"), states), initial)


def _target(name: str, compiled: Compiled) -> TargetSpec:
    return TargetSpec(name, name, (), compiled.tolerance, compiled.memory, compiled.machine)


OPENERS: dict[str, Opener] = {"numba": open_numba, "tvm": open_tvm, "c": open_c}
#: The printers read shapes from their own files.
SPEC = ModelSpec("test", (), (), ())


def load(name: str, dtype: str = F, stride: int = 1) -> Load:
    """The element of a stage's only axis."""
    return Load(Access(name, 0, (stride,)), dtype)


def elementwise(expressions: Sequence[Expression], inputs: dict[str, np.ndarray]) -> Case:
    """One stage and one output per expression, over inputs of shape (batch, n)."""
    size = next(iter(inputs.values())).shape[1]
    buffers = [Buffer(name, "input", array.dtype.name, size) for name, array in inputs.items()]
    buffers += [Buffer(f"out{i}", "output", e.dtype, size) for i, e in enumerate(expressions)]
    stages = [
        Stage(f"stage {i}", (size,), None, e, Access(f"out{i}", 0, (1,))) for i, e in enumerate(expressions)
    ]
    return Case(Program(tuple(buffers), tuple(stages), 0, 0), b"", tuple(inputs.values()))


def operations(dtype: str) -> list[Expression]:
    """Every operation that the dtype has, every cast from it, and a choice; float16 has but a cast."""
    if dtype == "float16":
        return [Call("cast", (load("a", dtype),), F)]
    names = _FLOAT if dtype.startswith("float") else _BOOL if dtype == "bool" else _INTEGER
    a, b = load("a", dtype), load("b", dtype)
    every: list[Expression] = [
        Call(name, (a, b)[: OPERATIONS[name]], "bool" if name in _BOOLEAN else dtype)
        for name in sorted(names)
    ]
    others = [other for other in DTYPES if other != dtype and (other != "float16" or dtype == F)]
    every += [Call("cast", (a,), other) for other in others]
    return [*every, Call("select", (Call("not_equal", (a, b), "bool"), a, b), dtype)]


def pairs(dtype: str) -> dict[str, np.ndarray]:
    """Every pair of the awkward values of a dtype, in one stream; ordinary values in two more."""
    if dtype == "bool":
        awkward = np.array([False, True])
    elif dtype.startswith("float"):
        numbers = [0, -0.0, 1, -1, 0.5, -2.5, 2.5, 3.5, 1e-3, -1e-3, 10, -10, 0.3, 100, -100, 1e10, 3e9]
        with np.errstate(over="ignore"):
            awkward = np.array([*numbers, np.inf, -np.inf, np.nan], dtype)
    else:
        limits = np.iinfo(dtype)
        numbers = [0, 1, 2, 3, 7, limits.max // 2, limits.max - 1, limits.max, limits.min]
        # int64 does not wrap in TVM: see tvm/formulas.py.
        awkward = np.array(numbers + [-1, -7, limits.min + 1] * (limits.min < 0), dtype)
    a, b = (grid.ravel() for grid in np.meshgrid(awkward, awkward))
    if not dtype.startswith("float"):
        return {"a": np.stack([a, b]), "b": np.stack([b, a])}
    rng = np.random.default_rng(1)
    near = rng.uniform(-1, 1, (2, a.size)) * [[3], [1]]
    return {
        "a": np.vstack([a[None], near]).astype(dtype),
        "b": np.vstack([b[None], near + 1.5]).astype(dtype),
    }


class Weights:
    """Constants collected into one blob, each on a 64-byte boundary."""

    def __init__(self) -> None:
        self.blob = b""
        self.buffers: list[Buffer] = []

    def add(self, name: str, array: np.ndarray) -> None:
        self.blob += bytes(-len(self.blob) % 64)
        self.buffers.append(Buffer(name, "constant", array.dtype.name, array.size, len(self.blob)))
        self.blob += array.tobytes()


def matrix_vector(name: str, source: str, target: str, rows: int, columns: int, transposed: bool) -> Stage:
    """target = weight `name` times `source` plus bias; `transposed` weights are stored (columns, rows)."""
    strides = (1, rows) if transposed else (columns, 1)
    product = Call("multiply", (Load(Access(name, 0, strides), F), Load(Access(source, 0, (0, 1)), F)), F)
    value = Call("add", (Accumulated(F), load(f"{name}.bias")), F)
    return Stage(name, (rows,), Reduction("sum", (columns,), product), value, Access(target, 0, (1,)))


def matrix_vectors(shapes: Sequence[tuple[int, int]], rng: np.random.Generator, batch: int) -> Case:
    """Independent matrix-vector products of all shapes, stored both ways round."""
    weights, buffers, stages, inputs = Weights(), [], [], []
    for number, (rows, columns) in enumerate(shapes):
        x = f"x{number}"
        buffers.append(Buffer(x, "input", F, columns))
        inputs.append(rng.standard_normal((batch, columns)).astype(F))
        for transposed in (False, True):
            name = f"w{number}{'t' * transposed}"
            weights.add(name, rng.standard_normal(rows * columns).astype(F))
            weights.add(f"{name}.bias", rng.standard_normal(rows).astype(F))
            buffers.append(Buffer(f"{name}.y", "output", F, rows))
            stages.append(matrix_vector(name, x, f"{name}.y", rows, columns, transposed))
    program = Program((*buffers, *weights.buffers), tuple(stages), 0, len(weights.blob))
    return Case(program, weights.blob, tuple(inputs))


def cascade(width: int, rng: np.random.Generator, batch: int) -> Case:
    """A small recurrent step: product, scratch that is reused, a norm, a state, a looked-up row."""
    weights = Weights()
    weights.add("w", (rng.standard_normal(width * width) / width).astype(F))
    weights.add("w.bias", rng.standard_normal(width).astype(F))
    weights.add("table", rng.standard_normal(5 * width).astype(F))
    hidden, squared = load("hidden"), load("squares")
    mean = Call("divide", (Accumulated(F), Constant(float(width), F)), F)
    row = Access("table", 0, (1,), (lookup("pick", 5, width),))
    updated = Call("add", (Call("multiply", (load("memory"), Constant(0.9, F)), F), hidden), F)
    scaled = Call("divide", (load("next_memory"), Call("sqrt", (scalar("mean"),), F)), F)
    stages = (
        matrix_vector("w", "x", "hidden", width, width, False),
        Stage("state", (width,), None, updated, Access("next_memory", 0, (1,))),
        Stage("squares", (width,), None, Call("multiply", (hidden, hidden), F), Access("squares", 0, (1,))),
        Stage("mean", (), Reduction("sum", (width,), squared), mean, Access("mean", 0, ())),
        Stage("norm", (width,), None, Call("add", (scaled, Load(row, F)), F), Access("y", 0, (1,))),
    )
    size = 4 * width
    buffers = (
        Buffer("x", "input", F, width),
        Buffer("pick", "input", "int64", 1),
        Buffer("memory", "state", F, width),
        Buffer("y", "output", F, width),
        Buffer("next_memory", "next_state", F, width),
        Buffer("hidden", "scratch", F, width, 0),
        Buffer("squares", "scratch", F, width, size),
        # `hidden` is dead when `mean` is stored, so that they may share memory.
        Buffer("mean", "scratch", F, 1, 0),
    )
    program = Program((*buffers, *weights.buffers), stages, 2 * size, len(weights.blob))
    x = rng.standard_normal((batch, width)).astype(F)
    pick = rng.integers(-9, 9, (batch, 1))
    return Case(program, weights.blob, (x, pick), (rng.standard_normal((batch, width)).astype(F),))


def lookup(source: str, extent: int, stride: int) -> Lookup:
    """A lookup of the single int64 element of `source`."""
    return Lookup(Load(Access(source, 0, (0,)), "int64"), extent, stride)


def scalar(name: str) -> Load:
    """The single element of a buffer, in a stage of one axis."""
    return Load(Access(name, 0, (0,)), F)


def first_streams(case: Case, count: int) -> Case:
    """The same program on the first few streams only."""
    inputs, states = (tuple(array[:count].copy() for array in group) for group in (case.inputs, case.states))
    return replace(case, inputs=inputs, states=states)


def poisoned(batch: int, buffers: Sequence[Buffer]) -> list[np.ndarray]:
    """Fresh arrays of 255 in every byte: NaN as floats, -1 as signed integers."""
    return [np.full((batch, b.size * item_size(b.dtype)), 255, np.uint8).view(b.dtype) for b in buffers]


def run(opener: Opener, case: Case) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Open, bind to poisoned arrays and run once."""
    check(case.program)
    batch = len(case.inputs[0])
    outputs = poisoned(batch, case.program.role("output"))
    next_states = poisoned(batch, case.program.role("next_state"))
    opener(case.program, case.weights).bind(case.inputs, case.states, outputs, next_states)()
    return outputs, next_states


def expected(case: Case) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """What the NumPy meaning of the program gives, stream by stream."""
    rows = [
        execute(case.program, case.weights, [x[i] for x in case.inputs], [s[i] for s in case.states])
        for i in range(len(case.inputs[0]))
    ]
    outputs = [np.stack(column) for column in zip(*(row[0] for row in rows), strict=True)]
    return outputs, [np.stack(column) for column in zip(*(row[1] for row in rows), strict=True)]


def differences(case: Case, got: list[np.ndarray], want: list[np.ndarray], relative: float) -> list[str]:
    """The stages whose output is wrong: integers must be equal, floats close to the largest magnitude."""

    def same(have: np.ndarray, need: np.ndarray) -> np.ndarray:
        finite = need[np.isfinite(need)]
        bound = relative * max(abs(finite).max(initial=0), 1e-30)
        return np.isclose(have, need, rtol=0, atol=bound, equal_nan=True)

    return _wrong(case, got, want, same)


def pointwise_differences(
    case: Case, got: list[np.ndarray], want: list[np.ndarray], relative: float
) -> list[str]:
    """The same for single operations: each float is held to its own magnitude, or to that of 0.1 below it."""

    def same(have: np.ndarray, need: np.ndarray) -> np.ndarray:
        return np.isclose(have, need, rtol=relative, atol=relative / 10, equal_nan=True)

    return _wrong(case, got, want, same)


def _wrong(
    case: Case,
    got: list[np.ndarray],
    want: list[np.ndarray],
    close: Callable[[np.ndarray, np.ndarray], np.ndarray],
) -> list[str]:
    wrong = []
    for number, (have, need) in enumerate(zip(got, want, strict=True)):
        same = close(have, need) if need.dtype.kind == "f" else have == need
        if not same.all():
            at = np.argwhere(~same)[0]
            wrong.append(f"{case.program.stages[number]}: {have[tuple(at)]} for {need[tuple(at)]} at {at}")
    return wrong
