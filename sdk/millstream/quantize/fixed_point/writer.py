"""Writing the fixed-point form of a core: integer tensors by the name of the float value they stand for."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper

from millstream.coarse import DOMAIN
from millstream.graph import set_origin
from millstream.quantize.fixed_point import functions, inverse
from millstream.quantize.fixed_point.ranges import fraction_bits
from millstream.quantize.fixed_point.widths import BYTE, WORD, Widths, highest, lowest

#: Entries of a table; a finer one costs block RAM, a coarser one accuracy.
TABLE_BITS = 11
#: The limits of a rounding that is no ReLU and no spike: what the width of the result allows.
LOWEST, HIGHEST = lowest(WORD), highest(WORD)
_ENDING = ".fixed"


@dataclass(frozen=True)
class Affine:
    """root * factor + offset, element by element; not computed until somebody reads it."""

    root: str
    factor: np.ndarray
    offset: np.ndarray


@dataclass(frozen=True)
class Unary:
    """A function of the elements of `root`, alike for all; not computed until somebody reads it."""

    root: str
    function: Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Square(Unary):
    """The square of the value `of`."""

    of: str


@dataclass(frozen=True)
class Squares:
    """factor * the sum of the `length` elements of the last axis of `of`, each squared, + offset.

    `squares` is the value that holds the squares.
    """

    of: str
    squares: str
    length: int
    factor: float
    offset: float


@dataclass(frozen=True)
class Power:
    """factor * source^exponent, element by element; the exponent is 1/2, -1/2 or -1, the factor positive."""

    source: str
    exponent: float
    factor: float

    def of(self, x: np.ndarray) -> np.ndarray:
        """The function itself."""
        return self.factor * x**self.exponent


@dataclass(frozen=True)
class Threshold:
    """1 where `root` is at least `level`, or above it when `strict`, and 0 elsewhere.

    The other way round when it is `falling`.
    """

    root: str
    level: float
    strict: bool
    falling: bool


class Writer:
    """Nodes and constants of the fixed-point core, in order.

    `fraction` holds the fraction bits of each float value, `widths` the bits of each by its own name,
    `positive` those that are never 0 or below, and `pending` those that are formulas so far.
    """

    def __init__(
        self,
        constants: Mapping[str, np.ndarray],
        fraction: Mapping[str, int],
        positive: Set[str],
        widths: Widths,
    ):
        self.constants = constants
        self.fraction = dict(fraction)
        self.pending: dict[str, Affine | Unary | Squares | Power | Threshold] = {}
        self._positive = positive
        self.nodes: list[onnx.NodeProto] = []
        self.added: dict[str, np.ndarray] = {}
        self.origin = ""
        self._bits = dict(widths.values)
        self._widths = widths
        self._integers: dict[str, str] = {}

    # --- boundaries -------------------------------------------------------------------------

    def enter(self, name: str) -> None:
        """Quantize a graph input, and limit it to its bits."""
        self.keep(name)
        if self.bits_of(name) < WORD:
            limited = f"{name}.limited"
            self.fraction[limited], self._bits[limited] = self.fraction[name], self.bits_of(name)
            self.scale(Affine(name, np.array(1.0), np.array(0.0)), limited)
            self._integers[name] = self._integers[limited]

    def keep(self, name: str) -> None:
        """Quantize a state. Its next value is limited already."""
        scale = self._scale(name)
        zero = self._constant("fixed.zero", np.array(0, np.int16))
        self._node("", "QuantizeLinear", [name, scale, zero], self._named(name))

    def leave(self, name: str) -> None:
        """Compute the float value that an integer stands for, under the value's own name."""
        self._node("", "DequantizeLinear", [self.integer(name), self._scale(name)], name)

    # --- values -----------------------------------------------------------------------------

    def known(self, name: str) -> bool:
        """Whether the value has been computed."""
        return name in self._integers

    def integer(self, name: str) -> str:
        """The int16 tensor of a value, computed now when it is a formula or a constant."""
        if name in self._integers:
            return self._integers[name]
        formula = self.pending.get(name)
        match formula:
            case Affine():
                self.scale(formula, name)
            case Unary():
                self._table(formula, name)
            case Squares():
                column = np.full((formula.length, 1), formula.factor)
                self.product(formula.squares, column, np.array([formula.offset]), name)
            case Power():
                self._power(formula, name)
            case Threshold():
                self._spike(formula, name)
            case None:
                self._quantized_constant(name)
        return self._integers[name]

    def at(self, name: str, fraction: int, bits: int) -> str:
        """The value as an int16 tensor with that many fraction bits, and no more bits than these."""
        if self.fraction_of(name) == fraction and self.bits_of(name) <= bits:
            return self.integer(name)
        moved = f"{name}.at.{fraction}.{bits}"
        if moved not in self._integers:
            self.fraction[moved], self._bits[moved] = fraction, bits
            self.scale(Affine(name, np.array(1.0), np.array(0.0)), moved)
        return self._integers[moved]

    def fraction_of(self, name: str) -> int:
        """Fraction bits of a value or a constant."""
        if name not in self.fraction:
            self.fraction[name] = self._fraction(self.constants[name], WORD)
        return self.fraction[name]

    def bits_of(self, name: str) -> int:
        """Bits of a value or a constant."""
        return self._bits.get(name, WORD)

    # --- operations -------------------------------------------------------------------------

    def product(self, x: str, weight: np.ndarray, bias: np.ndarray, output: str, low: int = LOWEST) -> None:
        """output = x weight + bias; weight (K, N), bias (N,) in real numbers."""
        source = self.integer(x)
        integers, fraction = self._weights(weight, output)
        exact = self.fraction[x] + fraction
        constants = [
            self._constant(f"{output}.fixed.weight", integers),
            self._constant(f"{output}.fixed.bias", _wide(bias, exact)),
        ]
        self._fixed(functions.PRODUCT, [source, *constants], exact, output, low)

    def scale(self, formula: Affine, output: str, low: int = LOWEST) -> None:
        """output = root * factor + offset."""
        source = self.integer(formula.root)
        factor, fraction = narrowed(formula.factor, self._widths.constants.get(output, WORD))
        exact = self.fraction[formula.root] + fraction
        constants = [
            self._constant(f"{output}.fixed.factor", factor),
            self._constant(f"{output}.fixed.bias", _wide(formula.offset, exact)),
        ]
        self._fixed(functions.SCALE, [source, *constants], exact, output, low)

    def add(self, a: str, b: str, sign: int, output: str, low: int = LOWEST) -> None:
        """output = a + sign * b."""
        names = [self.integer(a), self.integer(b)]
        finest = max(self.fraction[a], self.fraction[b], self.fraction[output])
        operands = []
        for name, source, factor in ((a, names[0], 1), (b, names[1], sign)):
            align = np.array(factor << (finest - self.fraction[name]), np.int64)
            operands += [source, self._constant(f"fixed.align.{align}", align)]
        self._fixed(functions.ADD, operands, finest, output, low)

    def multiply(self, a: str, b: str, output: str, low: int = LOWEST) -> None:
        """output = a * b, broadcast."""
        operands = [self.integer(a), self.integer(b)]
        self._fixed(functions.MULTIPLY, operands, self.fraction[a] + self.fraction[b], output, low)

    def contract(self, a: str, b: str, output: str, low: int = LOWEST) -> None:
        """output = a @ b, two activations."""
        operands = [self.integer(a), self.integer(b)]
        self._fixed(functions.CONTRACT, operands, self.fraction[a] + self.fraction[b], output, low)

    def move(self, node: onnx.NodeProto) -> None:
        """A node that moves values, on integers."""
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copy.input[0] = self.integer(node.input[0])
        for place, name in enumerate(node.output):
            copy.output[place] = self._named(name)
            copy.name = f"{copy.output[0]} node"
        set_origin(copy, self.origin)
        self.nodes.append(copy)

    def join(self, node: onnx.NodeProto) -> None:
        """Concat: every part is brought to the binary point of the whole."""
        output = node.output[0]
        parts = [self.at(name, self.fraction[output], self.bits_of(output)) for name in node.input]
        axis = next(a.i for a in node.attribute if a.name == "axis")
        self._node("", "Concat", parts, self._named(output), axis=axis)

    def function(self, name: str) -> Unary:
        """A value as a function of another value, of itself when nothing simpler is known."""
        match self.pending.get(name):
            case Unary() as formula:
                return formula
            case Affine() as formula if formula.factor.size == formula.offset.size == 1:
                factor, offset = formula.factor.reshape(()), formula.offset.reshape(())
                return Unary(formula.root, lambda x: x * factor + offset)
            case Power() as power:
                inner = self.function(power.source)
                return Unary(inner.root, lambda x: power.of(inner.function(x)))
            case _:
                return Unary(name, lambda x: x)

    def _power(self, formula: Power, output: str) -> None:
        """1/x and 1/sqrt(x) of what is positive have a table for every magnitude, the rest a plain one."""
        argument = self.pending.get(formula.source)
        if formula.exponent > 0 or not (isinstance(argument, Squares) or formula.source in self._positive):
            self._table(self.function(output), output)
        elif isinstance(argument, Squares):
            self._inverse_norm(formula, argument, output)
        else:
            self._inverse(formula, output)

    def _inverse(self, formula: Power, output: str) -> None:
        """Of slope x + offset, an integer: sign x + offset / |slope|, widened."""
        root, slope, offset = formula.source, 1.0, 0.0
        affine = self.pending.get(root)
        if isinstance(affine, Affine) and affine.factor.size == affine.offset.size == 1:
            root, slope, offset = affine.root, float(affine.factor.item()), float(affine.offset.item())
        source = self.integer(root)
        unit = abs(slope) * 2.0 ** -self.fraction[root] / inverse.WIDENING
        factor, bias = int(np.sign(slope)) * inverse.WIDENING, math.floor(offset / unit + 0.5)
        constants = [
            self._constant(f"fixed.factor.{factor}", np.array(factor, np.int64)),
            self._constant(f"{output}.fixed.bias", np.array(bias, np.int64)),
        ]
        largest = abs(LOWEST * factor) + abs(bias)
        self._inverted(functions.INVERSE, [source, *constants], formula, unit, largest, output)

    def _inverse_norm(self, formula: Power, sums: Squares, output: str) -> None:
        source = self.integer(sums.of)
        unit = sums.factor * 2.0 ** (-2 * self.fraction[sums.of])
        bias = math.floor(sums.offset / unit + 0.5)
        constant = self._constant(f"{output}.fixed.bias", np.array(bias, np.int64))
        largest = sums.length * LOWEST**2 + abs(bias)
        self._inverted(functions.INVERSE_NORM, [source, constant], formula, unit, largest, output)

    def _inverted(
        self, function: str, operands: list[str], formula: Power, unit: float, largest: int, output: str
    ) -> None:
        curve = inverse.curve(formula.exponent, formula.factor, unit, self.fraction[output], largest)
        operands += [self._constant(f"{output}.fixed.{name}", array) for name, array in vars(curve).items()]
        self._node(DOMAIN, function, operands, self._named(output))

    def _spike(self, formula: Threshold, output: str) -> None:
        """Integers are compared exactly: x - (threshold - 1), or threshold - x, kept between 0 and 1."""
        source = self.integer(formula.root)
        level = formula.level * 2.0 ** self.fraction[formula.root]
        reached = math.floor(level) + 1 if formula.strict else math.ceil(level)
        factor, bias = (-1, reached) if formula.falling else (1, 1 - reached)
        constants = [
            self._constant(f"{output}.fixed.factor", np.array(factor, np.int16)),
            self._constant(f"{output}.fixed.bias", np.array(bias, np.int64)),
        ]
        self._fixed(functions.SCALE, [source, *constants], self.fraction[output], output, 0, 1)

    def _table(self, formula: Unary, output: str) -> None:
        source, bits = self.integer(formula.root), self.bits_of(formula.root)
        shift, half = max(bits - TABLE_BITS, 0), 1 << (min(bits, TABLE_BITS) - 1)
        bins = np.arange(2 * half) - half
        middles = ((bins + 0.5) * (1 << shift) - 0.5) * 2.0 ** -self.fraction[formula.root]
        # Bins that no value reaches may lie outside of what the function is defined on.
        with np.errstate(all="ignore"):
            values = np.nan_to_num(formula.function(middles), posinf=0.0, neginf=0.0)
        table = _rounded(values, self.fraction[output], self.bits_of(output)).astype(np.int16)
        operands = [
            source,
            self._constant(f"{output}.fixed.table", table),
            self._constant(f"fixed.scale.{shift}", np.array(2.0**-shift)),
            self._constant(f"fixed.middle.{half}", np.array(half, np.int64)),
        ]
        self._node(DOMAIN, functions.TABLE, operands, self._named(output))

    def _fixed(
        self,
        function: str,
        operands: Sequence[str],
        exact: int,
        output: str,
        low: int,
        high: int = HIGHEST,
    ) -> None:
        """The function with its rounding from `exact` fraction bits to those of the output."""
        shift, bits = exact - self.fraction[output], self.bits_of(output)
        low, high = max(low, lowest(bits)), min(high, highest(bits))
        rounding = [
            self._constant(f"fixed.scale.{shift}", np.array(2.0**-shift)),
            self._constant(f"fixed.low.{low}", np.array(float(low))),
            self._constant(f"fixed.high.{high}", np.array(float(high))),
        ]
        self._node(DOMAIN, function, [*operands, *rounding], self._named(output))

    # --- constants --------------------------------------------------------------------------

    def _quantized_constant(self, name: str) -> None:
        values = _rounded(self.constants[name], self.fraction_of(name), WORD)
        self._integers[name] = self._constant(integer_name(name), values.astype(np.int16))

    def _weights(self, weight: np.ndarray, output: str) -> tuple[np.ndarray, int]:
        """The weights of a product as int8 or int16, and their fraction bits."""
        if output not in self._widths.bytes:
            return narrowed(weight, self._widths.constants.get(output, WORD))
        fraction = self._fraction(weight, BYTE)
        return _rounded(weight, fraction, BYTE).astype(np.int8), fraction

    def _fraction(self, values: np.ndarray, bits: int) -> int:
        return fraction_bits(float(np.abs(values).max(initial=0)), bits)

    def _scale(self, name: str) -> str:
        fraction = self.fraction[name]
        return self._constant(f"fixed.step.{fraction}", np.array(2.0**-fraction, np.float32))

    def _constant(self, name: str, array: np.ndarray) -> str:
        self.added.setdefault(name, array)
        return name

    def _named(self, name: str) -> str:
        self._integers[name] = integer_name(name)
        return self._integers[name]

    def _node(
        self, domain: str, operator: str, inputs: Sequence[str], output: str, **attributes: Any
    ) -> None:
        node = onnx.helper.make_node(
            operator, list(inputs), [output], name=f"{output} node", domain=domain, **attributes
        )
        set_origin(node, self.origin)
        self.nodes.append(node)


def integer_name(name: str) -> str:
    """The integer tensor that stands for a float value."""
    return name + _ENDING


def real_name(name: str) -> str:
    """The float value that an integer tensor stands for; the name itself of a tensor that stands for none."""
    return name.removesuffix(_ENDING)


def narrowed(values: np.ndarray, bits: int) -> tuple[np.ndarray, int]:
    """Constants on steps of so many bits as int16, and the fraction bits of all of them.

    Each column (..., N) has steps of its own, the finest powers of two that its bits allow. They are written
    with the binary point of the finest column, so that coarser ones end in zeros.
    """
    values = np.asarray(values, np.float64)
    columns = np.abs(values).reshape(-1, *values.shape[-1:]).max(0, initial=0)
    own = np.array([fraction_bits(float(largest), bits) for largest in np.atleast_1d(columns)])
    # The largest column may end in as many zeros as its bits leave free in a word.
    fraction = min(int(own.max()), int(own.min()) + WORD - bits)
    own = np.minimum(own, fraction).reshape(columns.shape)
    return (_rounded(values, own, bits) * 2.0 ** (fraction - own)).astype(np.int16), fraction


def _rounded(values: np.ndarray, fraction: int | np.ndarray, bits: int) -> np.ndarray:
    # Limited before it is an integer: what a table holds at its ends may be larger than any.
    return np.clip(_steps(values, fraction), lowest(bits), highest(bits)).astype(np.int64)


def _wide(values: np.ndarray, fraction: int) -> np.ndarray:
    return _steps(values, fraction).astype(np.int64)


def _steps(values: np.ndarray, fraction: int | np.ndarray) -> np.ndarray:
    return np.floor(np.asarray(values, np.float64) * 2.0**fraction + 0.5)
