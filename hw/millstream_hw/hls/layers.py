"""A circuit as layers for hls4ml, before hls4ml is loaded.

Every activation is the integer of the golden model, and every value is flat. A weight, factor or bias carries
the shift of the rounding as its binary point, so that the type of the result does the rounding. One of
hls4ml's own layers is used, Dense, which was seen to be exact; the others are written in
`firmware/millstream_layers.h`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

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
    State,
    Table,
)
from millstream_hw.hls.fixed import WORD, Fixed, holding, limited

_LARGEST_INPUT = 1 << 15
_MOST_SHIFT = 63
_OTHER_ROAD = "use --road engine"


@dataclass(frozen=True)
class Weights:
    """Integers that stand for themselves times 2^-type.fraction."""

    integers: np.ndarray
    type: Fixed

    @property
    def real(self) -> np.ndarray:
        """What they stand for, float64."""
        return self.integers.astype(np.float64) * 2.0**-self.type.fraction


@dataclass(frozen=True)
class Layer:
    """One layer: `kind` is input, dense, or a function of `firmware/millstream_layers.h`.

    `numbers` are the constants of its template; `sums` is the type that adds its products up; `length` is how
    many products a result takes.
    """

    name: str
    kind: str
    inputs: tuple[str, ...]
    size: int
    result: Fixed
    origin: str = ""
    numbers: Mapping[str, int] = field(default_factory=dict)
    weights: Mapping[str, Weights] = field(default_factory=dict)
    sums: Fixed | None = None
    length: int = 0

    @property
    def products(self) -> int:
        """Multiplications of one frame."""
        return self.size * self.length


@dataclass(frozen=True)
class Network:
    """Layers in order; `following` holds the layer of each state's next value, `outputs` those of outputs."""

    layers: tuple[Layer, ...]
    inputs: tuple[str, ...]
    states: tuple[str, ...]
    outputs: tuple[str, ...]
    following: tuple[str, ...]

    def layer(self, name: str) -> Layer:
        """A layer by name."""
        return next(layer for layer in self.layers if layer.name == name)


def gaps(circuit: Circuit) -> Iterator[Gap]:
    """Operations that no layer computes."""
    for operation in circuit.operations:
        kind, rounding, work = type(operation.work).__name__, operation.rounding, operation.work
        place = (kind, operation.output, operation.origin)
        if rounding and not 0 <= rounding.shift <= _MOST_SHIFT:
            yield Gap(*place, f"a rounding by {rounding.shift} bits", "widen the range of its inputs")
        if rounding and limited(rounding.low, rounding.high) is None:
            yield Gap(*place, f"limits of {rounding.low} and {rounding.high}", _OTHER_ROAD)
        if isinstance(work, Contract | Gather):
            read = work.sources if isinstance(work, Gather) else (work.a, work.b)
            for name in read:
                if name in circuit.constants:
                    yield Gap(*place, f"it reads the constant {name}", _OTHER_ROAD)


def network(circuit: Circuit) -> Network:
    """The layers of a circuit. Raises UnsupportedOperators naming every operation that has none."""
    refuse({"hls4ml": list(gaps(circuit))})
    return _Converter(circuit).network()


class _Converter:
    def __init__(self, circuit: Circuit) -> None:
        self._circuit = circuit
        self._shapes = circuit.shapes()
        self._layers: list[Layer] = []
        self._sizes: dict[str, int] = {}
        self._names: dict[str, str] = {}

    def network(self) -> Network:
        circuit = self._circuit
        ports = (*circuit.inputs, *(state.port for state in circuit.states))
        for port in ports:
            self._names[port.name] = self._put(Layer(port.name, "input", (), port.size, WORD))
        for operation in circuit.operations:
            self._names[operation.output] = self._operation(operation)
        outputs = tuple(self._leave(f"result {port.name}", port.name) for port in circuit.outputs)
        following = tuple(self._leave(f"next {state.port.name}", state.following) for state in circuit.states)
        return Network(
            tuple(self._layers),
            tuple(self._names[port.name] for port in circuit.inputs),
            tuple(self._names[state.port.name] for state in circuit.states),
            outputs,
            following,
        )

    def _leave(self, name: str, value: str) -> str:
        """A value as a result of its own: two results may be one value, or an input."""
        size = int(np.prod(self._shapes[value], dtype=np.int64))
        return self._gather(name, (self._names[value],), np.arange(size), "")

    def _operation(self, operation: Operation) -> str:
        match operation.work:
            case Product() as product:
                return self._dense(operation, product)
            case Scale() as scale:
                return self._scale(operation, scale.x, scale.factor, scale.bias)
            case Add() as add:
                return self._add(operation, add)
            case Multiply() as multiply:
                return self._multiply(operation, multiply)
            case Contract() as contract:
                return self._contract(operation, contract)
            case Table() as table:
                return self._table(operation, table)
            case Inverse() as inverse:
                return self._inverse(operation, inverse)
            case InverseNorm() as norm:
                return self._inverse_norm(operation, norm)
            case Gather() as gather:
                return self._moved(operation, gather)

    def _dense(self, operation: Operation, product: Product) -> str:
        shift = _rounding(operation).shift
        weight = product.weight.astype(np.int64)
        worst = int((np.abs(weight).sum(0) * _LARGEST_INPUT + np.abs(product.bias)).max())
        single = operation.size == weight.shape[1]
        return self._computed(
            operation,
            "dense" if single else "rows",
            (self._names[product.x],),
            numbers={"n_in": weight.shape[0], "n_out": weight.shape[1]},
            weights={"weight": Weights(weight, Fixed(16, shift)), "bias": _fitting(product.bias, shift)},
            sums=holding(worst, shift),
            length=weight.shape[0],
        )

    def _scale(self, operation: Operation, x: str, factor: np.ndarray, bias: np.ndarray) -> str:
        shift = _rounding(operation).shift
        factors, biases = (np.broadcast_to(a, operation.shape).reshape(-1) for a in (factor, bias))
        kept = {"factor": _fitting(factors, shift), "bias": _fitting(biases, shift)}
        return self._computed(operation, "scale", (self._spread(x, operation),), weights=kept, length=1)

    def _add(self, operation: Operation, add: Add) -> str:
        """An addition of a constant is a scale with a bias."""
        constants = self._circuit.constants
        for x, align, other, align_other in (
            (add.a, add.align_a, add.b, add.align_b),
            (add.b, add.align_b, add.a, add.align_a),
        ):
            if other in constants:
                bias = constants[other].astype(np.int64) * align_other
                return self._scale(operation, x, np.array(align), bias)
        operands = (self._spread(add.a, operation), self._spread(add.b, operation))
        aligns = {"align": _fitting(np.array([add.align_a, add.align_b]), 0)}
        return self._computed(operation, "add", operands, numbers=_shifted(operation), weights=aligns)

    def _multiply(self, operation: Operation, multiply: Multiply) -> str:
        """A multiplication by a constant is a scale."""
        constants = self._circuit.constants
        for x, other in ((multiply.a, multiply.b), (multiply.b, multiply.a)):
            if other in constants:
                return self._scale(operation, x, constants[other], np.array(0))
        operands = (self._spread(multiply.a, operation), self._spread(multiply.b, operation))
        return self._computed(operation, "multiply", operands, numbers=_shifted(operation), length=1)

    def _contract(self, operation: Operation, contract: Contract) -> str:
        """A (blocks, rows, length) by B (blocks, length, columns); what is broadcast is spread out first."""
        a, b = (self._shapes[name] for name in (contract.a, contract.b))
        a_rows, b_columns = a[-2:-1], b[1:][-1:]
        lead = operation.shape[: len(operation.shape) - len(a_rows) - len(b_columns)]
        length = int(np.prod(a[-1:]))
        inputs = (
            self._spread_to(contract.a, (*lead, *a_rows, length), operation.origin),
            self._spread_to(contract.b, (*lead, length, *b_columns), operation.origin),
        )
        sizes = {
            "blocks": int(np.prod(lead)),
            "rows": int(np.prod(a_rows)),
            "length": length,
            "columns": int(np.prod(b_columns)),
        }
        return self._computed(
            operation,
            "contract",
            inputs,
            numbers=sizes | _shifted(operation),
            sums=holding(length * _LARGEST_INPUT**2, _rounding(operation).shift),
            length=length,
        )

    def _table(self, operation: Operation, table: Table) -> str:
        return self._put(
            Layer(
                operation.output,
                "table",
                (self._spread(table.x, operation),),
                operation.size,
                WORD,
                operation.origin,
                numbers={"shift": table.shift, "half": len(table.table) // 2},
                weights={"entry": Weights(table.table.astype(np.int64), WORD)},
            )
        )

    def _inverse(self, operation: Operation, inverse: Inverse) -> str:
        kept = {
            "factor": _fitting(np.array([inverse.factor]), 0),
            "bias": _fitting(np.array([inverse.bias]), 0),
        }
        worst = abs(inverse.factor) * _LARGEST_INPUT + abs(inverse.bias)
        return self._inverted(operation, self._spread(inverse.x, operation), inverse.curve, kept, worst, 0)

    def _inverse_norm(self, operation: Operation, norm: InverseNorm) -> str:
        length = self._shapes[norm.x][-1]
        bias = {"bias": _fitting(np.array([norm.bias]), 0)}
        worst = length * _LARGEST_INPUT**2 + abs(norm.bias)
        return self._inverted(operation, self._names[norm.x], norm.curve, bias, worst, length)

    def _inverted(
        self,
        operation: Operation,
        x: str,
        curve: Curve,
        kept: dict[str, Weights],
        worst: int,
        length: int,
    ) -> str:
        """`worst` is the largest integer that is inverted, `length` how many products it takes."""
        return self._put(
            Layer(
                operation.output,
                "inverse_norm" if length else "inverse",
                (x,),
                operation.size,
                WORD,
                operation.origin,
                numbers={"shift": curve.shift, "step": curve.step, "levels": curve.levels}
                | ({"length": length} if length else {}),
                weights={**kept, "entry": Weights(curve.table.astype(np.int64), WORD)},
                sums=holding(worst, 0),
                length=length,
            )
        )

    def _computed(self, operation: Operation, kind: str, inputs: tuple[str, ...], **more: Any) -> str:
        """A layer whose result is rounded."""
        result = limited(_rounding(operation).low, _rounding(operation).high)
        if result is None:
            raise ValueError(f"{operation.output} has limits that no type has")
        size, origin = operation.size, operation.origin
        return self._put(Layer(operation.output, kind, inputs, size, result, origin, **more))

    # --- what only moves --------------------------------------------------------------------

    def _moved(self, operation: Operation, gather: Gather) -> str:
        sources = tuple(self._names[name] for name in gather.sources)
        if len(sources) == 1 and np.array_equal(gather.index, np.arange(self._sizes[sources[0]])):
            return sources[0]
        return self._gather(operation.output, sources, gather.index, operation.origin)

    def _gather(self, name: str, sources: tuple[str, ...], index: np.ndarray, origin: str) -> str:
        total = sum(self._sizes[source] for source in sources)
        places = Weights(index.astype(np.int64), Fixed(max(1, (total - 1).bit_length()), signed=False))
        numbers, weights = {"total": total}, {"place": places}
        return self._put(Layer(name, "gather", sources, len(index), WORD, origin, numbers, weights))

    def _spread(self, name: str, operation: Operation) -> str:
        return self._spread_to(name, operation.shape, operation.origin)

    def _spread_to(self, name: str, shape: tuple[int, ...], origin: str) -> str:
        """The layer of a value, broadcast to a shape."""
        own = self._shapes[name]
        index = np.arange(int(np.prod(own, dtype=np.int64))).reshape(own)
        spread = np.broadcast_to(index, shape).reshape(-1)
        if spread.size == index.size:
            return self._names[name]
        return self._gather(f"{name} spread", (self._names[name],), spread, origin)

    def _put(self, layer: Layer) -> str:
        """Add a layer under a name of its own that C++ can take."""
        identifier = re.sub(r"\W+|^(?=\d)", "_", layer.name)
        numbered = (f"{identifier}_{count}" for count in range(len(self._layers)))
        name = next(each for each in (identifier, *numbered) if each not in self._sizes)
        self._layers.append(replace(layer, name=name))
        self._sizes[name] = layer.size
        return name


def initial(states: tuple[State, ...]) -> list[list[int]]:
    """What each state holds after a reset."""
    return [[int(value) for value in state.initial.reshape(-1)] for state in states]


def _rounding(operation: Operation) -> Rounding:
    if operation.rounding is None:
        raise ValueError(f"{operation.output} has no rounding")
    return operation.rounding


def _shifted(operation: Operation) -> dict[str, int]:
    return {"shift": _rounding(operation).shift}


def _fitting(integers: np.ndarray, fraction: int) -> Weights:
    """Integers in the narrowest type."""
    return Weights(integers.astype(np.int64), holding(int(np.abs(integers.astype(np.int64)).max()), fraction))
