"""From a circuit to the engine's memories: one instruction for one operation, and moves.

Everything is a sum of products. A * b has one term; an addition has two, with the alignments as constants; a
move and a table have the constant 1 as second factor. A matrix product fills the lanes. Once a product has
weights of 8 bits, so have the words of the weight memory, and weights of 16 take two.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from millstream.gap import Gap, refuse
from millstream_hw.circuit import (
    Add,
    Circuit,
    Contract,
    Curve,
    Gather,
    Inverse,
    InverseNorm,
    Multiply,
    Operation,
    Product,
    Rounding,
    Scale,
    Table,
)
from millstream_hw.engine.image import Image
from millstream_hw.engine.instruction import Instruction
from millstream_hw.engine.memory import Memory
from millstream_hw.engine.nest import nest, runs

#: A result needs no rounding: what is moved or looked up fits already.
_AS_IT_IS = Rounding(0, -(1 << 15), (1 << 15) - 1)
#: An addition aligns by constants of 16 bits.
_MOST_ALIGN = 1 << 14
_LARGEST_INPUT = 1 << 15
_NARROW, _WIDE = 8, 16


@dataclass(frozen=True)
class _Terms:
    """The terms of each sum: how many, and the strides from one to the next."""

    count: int
    by_a: int
    by_b: int


_ONE_TERM = _Terms(1, 0, 0)


def compile_circuit(circuit: Circuit, lanes: int) -> Image:
    """The memories of an engine with that many lanes.

    Raises UnsupportedOperators naming every operation that the engine cannot compute.
    """
    refuse({"the engine": list(gaps(circuit))})
    return _Compiler(circuit, lanes).image()


def gaps(circuit: Circuit) -> Iterator[Gap]:
    """Operations that the engine has no instruction for."""
    for operation in circuit.operations:
        rounding, work = operation.rounding, operation.work
        if rounding and not 0 <= rounding.shift < 64:
            yield Gap(type(work).__name__, operation.output, operation.origin,
                      f"a rounding by {rounding.shift} bits", "widen the range of its inputs")  # fmt: skip
        if isinstance(work, Add) and max(abs(work.align_a), abs(work.align_b)) > _MOST_ALIGN:
            yield Gap("Add", operation.output, operation.origin,
                      "its operands' binary points lie more than 14 bits apart")  # fmt: skip


class _Compiler:
    def __init__(self, circuit: Circuit, lanes: int) -> None:
        self._circuit = circuit
        self._lanes = lanes
        self._memory = Memory(circuit)
        self._weight_bits = _weight_bits(circuit)
        self._weights: list[np.ndarray] = []
        self._biases: list[int] = []
        self._bias_places: dict[tuple[int, ...], int] = {}
        self._tables: list[int] = []
        self._table_places: dict[bytes, int] = {}
        self._program: list[Instruction] = []
        self._owners: list[str] = []
        self._owner = ""
        self._shapes = circuit.shapes()
        self._largest_sum = 0

    def image(self) -> Image:
        circuit, memory = self._circuit, self._memory
        memory.place_all()
        self._reset()
        reset, self._program, self._owners = self._finished(), [], []
        for operation in circuit.operations:
            self._owner = operation.output
            self._operation(operation)
        self._owner = ""
        results = self._results()
        self._commit()
        frame = self._finished()
        return Image(
            lanes=self._lanes,
            weight_bits=self._weight_bits,
            sum_bits=max(33, self._largest_sum.bit_length() + 1),
            data=np.array(memory.contents, np.int64).astype(np.int16),
            weights=np.concatenate(self._weights or [np.zeros((1, self._lanes), np.int16)]),
            biases=np.array(self._biases, np.int64),
            tables=np.array(self._tables or [0], np.int16),
            program=(*reset, *frame),
            frame_start=len(reset),
            in_base=int(memory.addresses[circuit.inputs[0].name][0]),
            in_words=sum(port.size for port in circuit.inputs),
            out_base=int(results[0]),
            out_words=len(results),
            states={state.port.name: memory.addresses[state.port.name] for state in circuit.states},
            owners=tuple(self._owners),
        )

    # --- states and results -----------------------------------------------------------------

    def _reset(self) -> None:
        for state in self._circuit.states:
            values = state.initial.reshape(-1)
            one = np.unique(values).size == 1
            source = self._memory.constant(values[:1] if one else values)
            if one:
                source = np.repeat(source, len(values))
            self._move(source, self._memory.addresses[state.port.name])

    def _results(self) -> np.ndarray:
        """Addresses of all outputs, one after the other; they are moved together when they lie apart."""
        found = np.concatenate([self._where(port.name) for port in self._circuit.outputs])
        if np.array_equal(found, found[0] + np.arange(len(found))):
            return found
        block = self._memory.reserve(len(found))
        self._move(found, block)
        return block

    def _commit(self) -> None:
        """Every state takes its next value, all at once: what another state's commit would overwrite before
        it is read goes through a copy."""
        moves = [
            (self._where(state.following), self._memory.addresses[state.port.name])
            for state in self._circuit.states
        ]
        safe = []
        for place, (source, target) in enumerate(moves):
            others = [other for at, (_, other) in enumerate(moves) if at != place]
            if _overwrites_itself(source, target) or any(np.isin(source, other).any() for other in others):
                copy = self._memory.reserve(len(source))
                self._move(source, copy)
                source = copy
            safe.append((source, target))
        for source, target in safe:
            self._move(source, target)

    def _finished(self) -> list[Instruction]:
        if not self._program:
            zero = np.array([Memory.ZERO])
            self._move(zero, zero)
        return [*self._program[:-1], replace(self._program[-1], last=True)]

    # --- operations -------------------------------------------------------------------------

    def _operation(self, operation: Operation) -> None:
        match operation.work:
            case Gather() as gather:
                self._gather(operation, gather)
            case Product() as product:
                self._product(operation, product)
            case Scale() as scale:
                factor = self._memory.constant(scale.factor)
                shape = (*scale.factor.shape,)
                operands = [
                    self._spread(scale.x, operation),
                    np.broadcast_to(factor.reshape(shape), operation.shape).reshape(-1),
                ]
                bias = np.broadcast_to(scale.bias, operation.shape).reshape(-1)
                self._sum(operation, operands, bias)
            case Multiply() as multiply:
                operands = [self._spread(multiply.a, operation), self._spread(multiply.b, operation)]
                self._sum(operation, operands, np.zeros(operation.size, np.int64))
            case Contract() as contract:
                self._contract(operation, contract)
            case Add() as add:
                self._add(operation, add)
            case Table() as table:
                self._table(operation, table)
            case Inverse() as inverse:
                self._inverse(operation, inverse)
            case InverseNorm() as norm:
                self._inverse_norm(operation, norm)

    def _gather(self, operation: Operation, gather: Gather) -> None:
        sources = np.concatenate([self._where(name) for name in gather.sources])[gather.index]
        placed = self._memory.addresses.get(operation.output)
        if placed is None:
            self._memory.addresses[operation.output] = sources
            return
        (apart,) = np.nonzero(sources != placed)
        if apart.size:
            self._move(sources[apart], placed[apart])

    def _product(self, operation: Operation, product: Product) -> None:
        """One instruction for each row of x; the rows share the weights. A sum of many rows takes one
        multiplier, which needs one instruction for all of them."""
        length, outputs = product.weight.shape
        if outputs == 1 and operation.size > 1:
            self._column(operation, product)
            return
        # A tile takes at least as long as its results take to leave.
        padded = max(length, self._lanes)
        tiles = -(-outputs // self._lanes)
        weight = np.zeros((padded, tiles * self._lanes), np.int16)
        weight[:length, :outputs] = product.weight
        words = weight.reshape(padded, tiles, -1).swapaxes(0, 1)
        halves = product.weight.dtype != np.int8 and self._weight_bits == _NARROW
        if halves:
            words = np.stack([words >> _NARROW, words.astype(np.int8)], 1)
            tiles *= 2
        start = sum(len(words) for words in self._weights)
        self._weights.append(words.reshape(-1, self._lanes))
        rounding = _rounding(operation)
        self._note_sums(
            np.abs(product.weight.astype(np.int64)).sum(0) * _LARGEST_INPUT, product.bias, rounding
        )
        bias = self._bias(product.bias + _half(rounding))
        targets = self._memory.addresses[operation.output].reshape(-1, outputs)
        for row, target in zip(self._where(product.x).reshape(-1, length), targets, strict=True):
            x = self._row(row)
            self._append(
                Instruction(
                    a=int(x[0]),
                    a_k=int(x[1] - x[0]) if length > 1 else 0,
                    out=int(target[0]),
                    out_j=1,
                    bias=bias,
                    bias_j=1,
                    weight=start,
                    n_j=tiles,
                    n_k=padded,
                    m_j=outputs,
                    shift=rounding.shift,
                    low=rounding.low,
                    high=rounding.high,
                    lanes=True,
                    halves=halves,
                )
            )

    def _column(self, operation: Operation, product: Product) -> None:
        """One column of weights, read from the data memory."""
        length = len(product.weight)
        along, rows = self._along_sum(self._where(product.x).reshape(-1, length))
        column, rounding = self._memory.constant(product.weight), _rounding(operation)
        worst = int(np.abs(product.weight.astype(np.int64)).sum()) * _LARGEST_INPUT
        self._note_sums(np.array([worst]), product.bias, rounding)
        operands = [rows[:, 0], np.repeat(column[:1], len(rows))]
        bias = np.full(len(rows), product.bias.item() + _half(rounding))
        target = self._memory.addresses[operation.output]
        self._emit(operands, target, bias, rounding, terms=_Terms(length, along, 1))

    def _add(self, operation: Operation, add: Add) -> None:
        """Two terms: a walks from the first operand to the second, b over the two alignments."""
        a, b = self._spread(add.a, operation), self._spread(add.b, operation)
        if np.unique(b - a).size > 1:
            a, b = self._contiguous(a), self._contiguous(b)
        align = self._memory.constant(np.array([add.align_a, add.align_b]))
        rounding, size = _rounding(operation), operation.size
        worst = (abs(add.align_a) + abs(add.align_b)) * _LARGEST_INPUT
        self._note_sums(np.array([worst]), np.zeros(1, np.int64), rounding)
        operands = [a, np.repeat(align[0], size)]
        target, bias = self._memory.addresses[operation.output], np.full(size, _half(rounding))
        self._emit(operands, target, bias, rounding, terms=_Terms(2, int(b[0] - a[0]), 1))

    def _contract(self, operation: Operation, contract: Contract) -> None:
        """A sum of products for each element of the result, by one multiplier."""
        a, b = (self._where(name).reshape(self._shapes[name]) for name in (contract.a, contract.b))
        length = a.shape[-1]
        column = b if b.ndim > 1 else b[:, None]
        rows = np.broadcast_to(a[..., None, :], (*operation.shape, length)).reshape(-1, length)
        columns = column.swapaxes(-1, -2)[..., None, :, :]
        columns = np.broadcast_to(columns, (*operation.shape, length)).reshape(-1, length)
        (a_k, rows), (b_k, columns) = self._along_sum(rows), self._along_sum(columns)
        target, rounding = self._memory.addresses[operation.output], _rounding(operation)
        self._note_sums(np.array([length * _LARGEST_INPUT**2]), np.zeros(1, np.int64), rounding)
        bias = np.full(operation.size, _half(rounding))
        operands = [rows[:, 0], columns[:, 0]]
        self._emit(operands, target, bias, rounding, terms=_Terms(length, a_k, b_k))

    def _along_sum(self, terms: np.ndarray) -> tuple[int, np.ndarray]:
        """The stride along the sum, and the terms, copied when they have no single one."""
        steps = np.unique(np.diff(terms, axis=1))
        if steps.size > 1:
            terms = self._contiguous(terms.reshape(-1)).reshape(terms.shape)
            steps = np.unique(np.diff(terms, axis=1))
        return (int(steps[0]) if steps.size else 0), terms

    def _table(self, operation: Operation, table: Table) -> None:
        half = len(table.table) // 2
        start = self._entries(table.table)
        operands = [self._spread(table.x, operation), np.repeat(Memory.ONE, operation.size)]
        rounding = Rounding(table.shift, -half, half - 1)
        zero = np.zeros(operation.size, np.int64)
        self._emit(operands, self._memory.addresses[operation.output], zero, rounding, start + half)

    def _inverse(self, operation: Operation, inverse: Inverse) -> None:
        factor = self._memory.constant(np.array([inverse.factor]))
        operands = [self._spread(inverse.x, operation), np.repeat(factor, operation.size)]
        self._inverted(operation, operands, _ONE_TERM, inverse.bias, inverse.curve, abs(inverse.factor))

    def _inverse_norm(self, operation: Operation, norm: InverseNorm) -> None:
        """Every row times itself."""
        length = self._shapes[norm.x][-1]
        along, rows = self._along_sum(self._where(norm.x).reshape(-1, length))
        terms = _Terms(length, along, along)
        self._inverted(operation, [rows[:, 0]] * 2, terms, norm.bias, norm.curve, length * _LARGEST_INPUT)

    def _inverted(
        self,
        operation: Operation,
        operands: list[np.ndarray],
        terms: _Terms,
        bias: int,
        curve: Curve,
        factors: int,
    ) -> None:
        """`factors` times the largest input is the largest sum of products."""
        rounding = Rounding(curve.shift, 0, len(curve.table) - 1)
        biases = np.full(operation.size, bias)
        self._note_sums(np.array([factors * _LARGEST_INPUT]), biases[:1], rounding)
        start, target = self._entries(curve.table), self._memory.addresses[operation.output]
        self._emit(operands, target, biases, rounding, start, terms, curve.step)

    def _sum(self, operation: Operation, operands: list[np.ndarray], bias: np.ndarray) -> None:
        rounding = _rounding(operation)
        self._note_sums(np.full(len(bias), _LARGEST_INPUT**2), bias, rounding)
        self._emit(operands, self._memory.addresses[operation.output], bias + _half(rounding), rounding)

    def _move(self, source: np.ndarray, target: np.ndarray) -> None:
        zero = np.zeros(len(source), np.int64)
        self._emit([source, np.repeat(Memory.ONE, len(source))], target, zero, _AS_IT_IS)

    def _emit(
        self,
        operands: Sequence[np.ndarray],
        target: np.ndarray,
        bias: np.ndarray,
        rounding: Rounding,
        table: int | None = None,
        terms: _Terms = _ONE_TERM,
        step: int = 0,
    ) -> None:
        """One sum of products for each element; cut into stretches when no two loops walk it. `step` is that
        of a curve."""
        alike = bool(np.all(bias == bias[0]))
        base = self._bias(bias[:1] if alike else bias)
        places = base + (np.zeros if alike else np.arange)(len(bias), dtype=np.int64)
        patterns = [*operands, target, places]
        found = nest(patterns)
        if found is None:
            for part in _common_runs(patterns):
                parts = [pattern[part] for pattern in operands]
                self._emit(parts, target[part], bias[part], rounding, table, terms, step)
            return
        a, b, out, walk = found.walks
        self._append(
            Instruction(
                a=a[0],
                a_i=a[1],
                a_j=a[2],
                b=b[0],
                b_i=b[1],
                b_j=b[2],
                out=out[0],
                out_i=out[1],
                out_j=out[2],
                bias=walk[0],
                bias_i=walk[1],
                bias_j=walk[2],
                a_k=terms.by_a,
                b_k=terms.by_b,
                n_i=found.n_i,
                n_j=found.n_j,
                n_k=terms.count,
                m_i=found.n_i,
                m_j=found.n_j,
                shift=rounding.shift,
                low=rounding.low,
                high=rounding.high,
                table=table or 0,
                lookup=table is not None,
                inverse=step > 0,
                twice=step == 2,
            )
        )

    def _append(self, instruction: Instruction) -> None:
        self._program.append(instruction)
        self._owners.append(self._owner)

    # --- addresses --------------------------------------------------------------------------

    def _where(self, name: str) -> np.ndarray:
        return self._memory.addresses[name]

    def _spread(self, name: str, operation: Operation) -> np.ndarray:
        """The address of a value's element for each element of the result."""
        shape = self._shapes[name]
        return np.broadcast_to(self._where(name).reshape(shape), operation.shape).reshape(-1)

    def _row(self, pattern: np.ndarray) -> np.ndarray:
        """The pattern, copied into a row when it has more than one stride."""
        return pattern if np.unique(np.diff(pattern)).size <= 1 else self._contiguous(pattern)

    def _contiguous(self, pattern: np.ndarray) -> np.ndarray:
        copy = self._memory.reserve(len(pattern))
        self._move(pattern, copy)
        return copy

    # --- constants --------------------------------------------------------------------------

    def _entries(self, table: np.ndarray) -> int:
        """The place of a table; equal ones lie there once."""
        key = table.tobytes()
        if key not in self._table_places:
            self._table_places[key] = len(self._tables)
            self._tables += [int(value) for value in table]
        return self._table_places[key]

    def _bias(self, values: np.ndarray) -> int:
        key = tuple(int(value) for value in values)
        if key not in self._bias_places:
            self._bias_places[key] = len(self._biases)
            self._biases += key
        return self._bias_places[key]

    def _note_sums(self, products: np.ndarray, bias: np.ndarray, rounding: Rounding) -> None:
        """Remember the largest |sum| that can be: it decides how many bits a sum has."""
        worst = int(np.max(products + np.abs(bias))) + _half(rounding)
        self._largest_sum = max(self._largest_sum, worst)


def _weight_bits(circuit: Circuit) -> int:
    """Bits of a weight in memory: 8 when there is a product that needs no more."""
    products = [op.work for op in circuit.operations if isinstance(op.work, Product)]
    return _NARROW if any(product.weight.dtype == np.int8 for product in products) else _WIDE


def _rounding(operation: Operation) -> Rounding:
    if operation.rounding is None:
        raise ValueError(f"{operation.output} has no rounding")
    return operation.rounding


def _half(rounding: Rounding) -> int:
    """What turns a floor into rounding to the nearest."""
    return 1 << (rounding.shift - 1) if rounding.shift else 0


def _overwrites_itself(source: np.ndarray, target: np.ndarray) -> bool:
    """Whether an element would be written before a later element is read from its place."""
    written = {int(place): at for at, place in enumerate(target)}
    return any(written.get(int(place), at) < at for at, place in enumerate(source))


def _common_runs(patterns: Sequence[np.ndarray]) -> list[slice]:
    """The longest stretches in which every pattern has one stride, cut where any of them breaks."""
    ends: set[int] = set()
    for pattern in patterns:
        ends.update(part.stop for part in runs(pattern))
    bounds = [0, *sorted(ends)]
    return [slice(a, b) for a, b in itertools.pairwise(bounds)]
