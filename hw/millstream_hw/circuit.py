"""A fixed-point step as a circuit: integer ports, states, and operations in order, read from the step graph.

The graph is the golden model; this is the same thing without ONNX, for whoever builds hardware. Shapes have
no batch dimension: a circuit serves one stream. What the graph computes beside the circuit (a float64 mean,
a counter) is kept as a graph of its own, for the host.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx
import onnx.helper

from millstream.coarse import DOMAIN
from millstream.errors import GraphInvalid
from millstream.gap import Gap, refuse
from millstream.graph import StepGraph, initializers, origin, tensor
from millstream.quantize.fixed_point import functions, inverse
from millstream.quantize.fixed_point.ranges import MOVES
from millstream.quantize.product import attributes
from millstream.reference.operators import OPERATORS
from millstream.reference.quantization import quantize_linear


@dataclass(frozen=True)
class Port:
    """An int16 value `name` of a shape, which stands for the float value `real` = integer * 2^-fraction."""

    name: str
    real: str
    shape: tuple[int, ...]
    fraction: int

    @property
    def size(self) -> int:
        """How many integers it holds."""
        return int(np.prod(self.shape, dtype=np.int64))


@dataclass(frozen=True)
class State:
    """A register of the circuit: `port` is its value, `following` the value that it takes with the next
    frame, `initial` the integers that it holds after a reset."""

    port: Port
    following: str
    initial: np.ndarray


@dataclass(frozen=True)
class Rounding:
    """clip(floor(exact * 2^-shift + 1/2), low, high)."""

    shift: int
    low: int
    high: int


@dataclass(frozen=True)
class Product:
    """x weight + bias for each row of x (..., K): weight (K, N) int8 or int16, bias (N,) int64."""

    x: str
    weight: np.ndarray
    bias: np.ndarray


@dataclass(frozen=True)
class Scale:
    """x * factor + bias, element by element, broadcast: factor int16, bias int64."""

    x: str
    factor: np.ndarray
    bias: np.ndarray


@dataclass(frozen=True)
class Add:
    """a * align_a + b * align_b, broadcast."""

    a: str
    align_a: int
    b: str
    align_b: int


@dataclass(frozen=True)
class Multiply:
    """a * b, broadcast."""

    a: str
    b: str


@dataclass(frozen=True)
class Contract:
    """a @ b, the matrix product of two activations."""

    a: str
    b: str


@dataclass(frozen=True)
class Table:
    """table[floor(x * 2^-shift) + len(table) / 2]."""

    x: str
    table: np.ndarray
    shift: int


@dataclass(frozen=True)
class Curve:
    """1/x or 1/sqrt(x) of an exact integer e, from a table over its mantissa:

        min(floor(table[clip(floor(e * 2^-(shift + 2 level)), 0, 2047)] * 2^(2 - step level) + 1/2), 32767)

    with level = how many of the `levels` powers of four, from 4^((shift + 11) / 2) on, e reaches. `step` is 1
    for a root and 2 for an inverse."""

    table: np.ndarray
    shift: int
    step: int
    levels: int


@dataclass(frozen=True)
class Inverse:
    """The curve of x * factor + bias, element by element."""

    x: str
    factor: int
    bias: int
    curve: Curve


@dataclass(frozen=True)
class InverseNorm:
    """The curve of the sum of squares over the last axis of x (..., K), plus bias: (..., 1)."""

    x: str
    bias: int
    curve: Curve


@dataclass(frozen=True)
class Gather:
    """Elements of the sources, which are laid flat one after the other: element e of the result is that of
    place index[e]."""

    sources: tuple[str, ...]
    index: np.ndarray


Work = Product | Scale | Add | Multiply | Contract | Table | Inverse | InverseNorm | Gather


@dataclass(frozen=True)
class Operation:
    """One value of the circuit. `rounding` is None for tables, inverses and gathers, which have none."""

    output: str
    shape: tuple[int, ...]
    work: Work
    rounding: Rounding | None
    origin: str

    @property
    def size(self) -> int:
        """How many integers it computes."""
        return int(np.prod(self.shape, dtype=np.int64))


@dataclass(frozen=True)
class Circuit:
    """One step of one stream. `constants` are int16 values that operations read by name.

    `around` is what the host computes from the outputs, an ONNX model; None when there is nothing.
    """

    inputs: tuple[Port, ...]
    states: tuple[State, ...]
    operations: tuple[Operation, ...]
    outputs: tuple[Port, ...]
    constants: Mapping[str, np.ndarray]
    around: onnx.ModelProto | None

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a value or constant, by name."""
        return self.shapes()[name]

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of every value and constant."""
        found = {port.name: port.shape for port in (*self.inputs, *(s.port for s in self.states))}
        found |= {operation.output: operation.shape for operation in self.operations}
        return found | {name: array.shape for name, array in self.constants.items()}


def with_states_on_the_port(circuit: Circuit, following: Mapping[str, str]) -> Circuit:
    """The same step without registers: states are further inputs, and their next values further outputs.

    `following` holds the next state of each state by their names in the graph.
    """
    states = [state.port for state in circuit.states]
    nexts = [replace(s.port, name=s.following, real=following[s.port.real]) for s in circuit.states]
    return replace(circuit, inputs=(*circuit.inputs, *states), states=(), outputs=(*circuit.outputs, *nexts))


def read(graph: StepGraph, initial: Sequence[np.ndarray]) -> Circuit:
    """The circuit of a fixed-point step graph; `initial` holds the float value of each state of the graph,
    without batch dimension.

    Raises UnsupportedOperators when the graph is not in fixed point, or has nodes that no circuit has.
    """
    return _Reader(graph.specialize(1), dict(zip(graph.states, initial, strict=True))).circuit()


class _Reader:
    def __init__(self, graph: StepGraph, initial: Mapping) -> None:
        self.graph = graph
        self.initial = {pair.name: value for pair, value in initial.items()}
        self.constants = initializers(graph.model)
        values = (*graph.model.graph.input, *graph.model.graph.output, *graph.model.graph.value_info)
        self.shapes = {value.name: tuple(n or 1 for n in tensor(value).shape) for value in values}
        self.ports: dict[str, Port] = {}
        self.leaving: dict[str, Port] = {}
        self.operations: list[Operation] = []
        self.used: dict[str, np.ndarray] = {}
        self.around: list[onnx.NodeProto] = []

    def circuit(self) -> Circuit:
        for node in self.graph.model.graph.node:
            self._read(node)
        next_of = {pair.name: pair.next_name for pair in self.graph.states}
        entering = {port.real: port for port in self.ports.values()}
        states = tuple(
            State(entering[name], self.leaving[next_of[name]].name, self._initial(entering[name]))
            for name in next_of
            if name in entering and next_of[name] in self.leaving
        )
        kept = {next_of[state.port.real] for state in states}
        own = {state.port.real for state in states}
        refuse({"a circuit": [Gap("state", name, "", "it is no integer of the circuit") for name in entering
                              if name in next_of and name not in own]})  # fmt: skip
        outputs = tuple(port for real, port in self.leaving.items() if real not in kept)
        if not self.operations or not outputs:
            gap = Gap("step", self.graph.model.graph.name, "", "it is not in fixed point",
                      "export it with --quantize fixed16")  # fmt: skip
            refuse({"a circuit": [gap]})
        inputs = tuple(port for real, port in entering.items() if real not in own)
        return Circuit(inputs, states, tuple(self.operations), outputs, self.used, self._around(kept))

    def _read(self, node: onnx.NodeProto) -> None:
        kind = node.op_type
        if kind == "QuantizeLinear" and node.input[0] in self._graph_inputs():
            name = node.output[0]
            self.ports[name] = Port(
                name, node.input[0], self._shape(node.input[0]), self._fraction(node.input[1])
            )
        elif kind == "DequantizeLinear" and self._is_integer(node.input[0]):
            source, real = node.input[0], node.output[0]
            self.leaving[real] = Port(source, real, self._shape(source), self._fraction(node.input[1]))
        elif node.domain == DOMAIN and self._is_integer(node.input[0]):
            self._operation(node)
        elif (kind in MOVES or kind == "Concat") and all(self._is_integer(n) for n in self._moved(node)):
            self._gather(node)
        else:
            self.around.append(node)

    def _operation(self, node: onnx.NodeProto) -> None:
        work: Work
        first, *rest = node.input
        match node.op_type:
            case functions.PRODUCT:
                work = Product(first, self._parameter(rest[0]), self._parameter(rest[1]))
            case functions.SCALE:
                work = Scale(first, self._parameter(rest[0]), self._parameter(rest[1]))
            case functions.ADD:
                self._note_constant(rest[1])
                aligns = [int(self._parameter(name)) for name in (rest[0], rest[2])]
                work = Add(first, aligns[0], rest[1], aligns[1])
            case functions.MULTIPLY:
                self._note_constant(rest[0])
                work = Multiply(first, rest[0])
            case functions.CONTRACT:
                work = Contract(first, rest[0])
            case functions.INVERSE:
                factor, bias = (int(self._parameter(name)) for name in rest[:2])
                work = Inverse(first, factor, bias, self._curve(rest[2:]))
            case functions.INVERSE_NORM:
                work = InverseNorm(first, int(self._parameter(rest[0])), self._curve(rest[1:]))
            case _:
                work = Table(first, self._parameter(rest[0]), _shift(self._parameter(rest[1])))
        rounding = None
        if not isinstance(work, Table | Inverse | InverseNorm):
            scale, low, high = (self._parameter(name) for name in node.input[-3:])
            rounding = Rounding(_shift(scale), int(low), int(high))
        self._note_constant(first)
        self._add(node.output[0], work, rounding, origin(node))

    def _curve(self, names: Sequence[str]) -> Curve:
        """Raises GraphInvalid when levels and scales are not those that a circuit counts for itself."""
        table, levels, narrowings, shares = (self._parameter(name) for name in names)
        shift, step = _shift(narrowings[0]), _shift(shares[1]) - _shift(shares[0])
        level = np.arange(len(levels) + 1)
        wanted = (
            4 ** ((shift + inverse.MANTISSA_BITS) // 2 + 1 + level[:-1]),
            2.0 ** -(shift + 2.0 * level),
            2.0 ** (inverse.SPARE_BITS - float(step) * level),
        )
        equal = (np.array_equal(*pair) for pair in zip((levels, narrowings, shares), wanted, strict=True))
        if not all(equal) or len(table) != inverse.TABLE or shift < 1 or step not in (1, 2):
            raise GraphInvalid("an inverse whose levels are not the powers of four", where=names[1])
        return Curve(table, shift, step, len(levels))

    def _gather(self, node: onnx.NodeProto) -> None:
        """Let the operator move places instead of values: its result says where each value comes from."""
        sources = self._moved(node)
        places, start = [], 0
        for name in sources:
            self._note_constant(name)
            shape = self.shapes.get(name) or self.constants[name].shape
            size = int(np.prod(shape, dtype=np.int64))
            places.append(np.arange(start, start + size).reshape(shape))
            start += size
        others = [self.constants.get(name) for name in node.input[len(sources) :]]
        found = OPERATORS[node.op_type](*places, *others, **attributes(node))
        results = found if isinstance(found, tuple | list) else (found,)
        for name, index in zip(node.output, results, strict=False):
            self._add(name, Gather(sources, np.asarray(index).reshape(-1)), None, origin(node))

    def _add(self, output: str, work: Work, rounding: Rounding | None, place: str) -> None:
        self.operations.append(Operation(output, self._shape(output), work, rounding, place))

    def _moved(self, node: onnx.NodeProto) -> tuple[str, ...]:
        return tuple(node.input) if node.op_type == "Concat" else (node.input[0],)

    def _is_integer(self, name: str) -> bool:
        constant = self.constants.get(name)
        computed = {operation.output for operation in self.operations}
        return name in self.ports or name in computed or (constant is not None and constant.dtype == np.int16)

    def _note_constant(self, name: str) -> None:
        if name in self.constants:
            array = self.constants[name]
            self.used[name] = array.reshape(array.shape or (1,))

    def _parameter(self, name: str) -> np.ndarray:
        """A constant operand of a fixed-point operation. Raises GraphInvalid when it is computed."""
        if name not in self.constants:
            raise GraphInvalid("a parameter of a fixed-point operation is no constant", where=name)
        return self.constants[name]

    def _graph_inputs(self) -> set[str]:
        return {value.name for value in self.graph.model.graph.input}

    def _shape(self, name: str) -> tuple[int, ...]:
        return self.shapes[name][1:]

    def _fraction(self, scale: str) -> int:
        return _shift(self._parameter(scale))

    def _initial(self, port: Port) -> np.ndarray:
        scale = np.array(2.0**-port.fraction, np.float32)
        return quantize_linear(self.initial[port.real], scale, np.array(0, np.int16))

    def _around(self, kept: set[str]) -> onnx.ModelProto | None:
        """The nodes that stay on the host, fed by the circuit's outputs and by states of their own."""
        if not self.around:
            return None
        given = [name for name in self.leaving if name not in kept]
        model = onnx.ModelProto()
        model.CopyFrom(self.graph.model)
        del model.graph.node[:], model.graph.value_info[:], model.functions[:]
        model.graph.node.extend(self.around)
        read = {name for node in self.around for name in node.input}
        written = {name for node in self.around for name in node.output}
        inputs = [value for value in self.graph.model.graph.input if value.name in read]
        outputs = [value for value in self.graph.model.graph.output if value.name in written]
        constants = [item for item in self.graph.model.graph.initializer if item.name in read]
        del model.graph.input[:], model.graph.output[:], model.graph.initializer[:]
        float32 = onnx.TensorProto.FLOAT
        model.graph.input.extend(
            onnx.helper.make_tensor_value_info(name, float32, self.shapes[name])
            for name in given
            if name in read
        )
        model.graph.input.extend(inputs)
        model.graph.output.extend(outputs)
        model.graph.initializer.extend(constants)
        return model


def _shift(scale: np.ndarray) -> int:
    """n of a scale 2^-n. Raises GraphInvalid when it is no power of two."""
    mantissa, exponent = np.frexp(np.float64(scale))
    if mantissa != 0.5:
        raise GraphInvalid(f"a scale of {float(scale)}, which is no power of two")
    return 1 - int(exponent)
