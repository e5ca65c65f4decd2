"""The operations of a fixed-point step: model-local ONNX functions whose bodies define every integer.

An activation is int16 and stands for its integer times 2^-fraction. Each function computes exactly in int64
and ends in one rounding:

    y = clip(floor(exact * scale + 1/2), low, high)          scale = 2^-shift, float64

float64 holds every sum below 2^53, so scaling by a power of two and the floor are exact: hardware shifts. All
parameters are operands, so the graph alone says what a circuit must do.
"""

from __future__ import annotations

from functools import cache

import onnx
import onnx.parser

from millstream.coarse import DOMAIN
from millstream.graph import OPSET

PRODUCT, SCALE, ADD, MULTIPLY = "FixedProduct", "FixedScale", "FixedAdd", "FixedMultiply"
CONTRACT, TABLE = "FixedContract", "FixedTable"
INVERSE, INVERSE_NORM = "FixedInverse", "FixedInverseNorm"

_ROUNDED = """
  real = Cast <to = 11> (exact)
  scaled = Mul (real, scale)
  half = Constant <value = double {0.5}> ()
  raised = Add (scaled, half)
  whole = Floor (raised)
  kept = Clip (whole, low, high)
  y = Cast <to = 5> (kept)
}
"""

#: What 1/x and 1/sqrt(x) of an exact integer end in, whatever its magnitude: see `inverse.Curve`.
_INVERTED = """
  last = Constant <value = int64[1] {-1}> ()
  spread = Unsqueeze (exact, last)
  reached = GreaterOrEqual (spread, levels)
  counted = Cast <to = 7> (reached)
  level = ReduceSum <keepdims = 0> (counted, last)
  narrowing = Gather (narrowings, level)
  real = Cast <to = 11> (exact)
  narrowed = Mul (real, narrowing)
  whole = Floor (narrowed)
  lowest = Constant <value = double {0}> ()
  highest = Constant <value = double {2047}> ()
  kept = Clip (whole, lowest, highest)
  bin = Cast <to = 7> (kept)
  entry = Gather (table, bin)
  mantissa = Cast <to = 11> (entry)
  share = Gather (shares, level)
  shifted = Mul (mantissa, share)
  half = Constant <value = double {0.5}> ()
  raised = Add (shifted, half)
  floored = Floor (raised)
  most = Constant <value = double {32767}> ()
  limited = Clip (floored, lowest, most)
  y = Cast <to = 5> (limited)
}
"""

_BODIES = (
    #: x (B, K) int16, weight (K, N) int8 or int16, bias (N,) int64.
    """
FixedProduct (x, weight, bias, scale, low, high) => (y) {
  wide = Cast <to = 7> (x)
  factors = Cast <to = 7> (weight)
  sums = MatMul (wide, factors)
  exact = Add (sums, bias)
"""
    + _ROUNDED,
    #: One factor and one bias for each element: factor int16, bias int64, both broadcast to x.
    """
FixedScale (x, factor, bias, scale, low, high) => (y) {
  wide = Cast <to = 7> (x)
  factors = Cast <to = 7> (factor)
  products = Mul (wide, factors)
  exact = Add (products, bias)
"""
    + _ROUNDED,
    #: a and b brought to one binary point by whole powers of two, int64, negative to subtract.
    """
FixedAdd (a, align_a, b, align_b, scale, low, high) => (y) {
  wide_a = Cast <to = 7> (a)
  wide_b = Cast <to = 7> (b)
  aligned_a = Mul (wide_a, align_a)
  aligned_b = Mul (wide_b, align_b)
  exact = Add (aligned_a, aligned_b)
"""
    + _ROUNDED,
    """
FixedMultiply (a, b, scale, low, high) => (y) {
  wide_a = Cast <to = 7> (a)
  wide_b = Cast <to = 7> (b)
  exact = Mul (wide_a, wide_b)
"""
    + _ROUNDED,
    #: The matrix product of two activations.
    """
FixedContract (a, b, scale, low, high) => (y) {
  wide_a = Cast <to = 7> (a)
  wide_b = Cast <to = 7> (b)
  exact = MatMul (wide_a, wide_b)
"""
    + _ROUNDED,
    #: table (n,) int16 holds a function of x at the middle of each of n equal bins of the range of x.
    """
FixedTable (x, table, scale, middle) => (y) {
  real = Cast <to = 11> (x)
  scaled = Mul (real, scale)
  whole = Floor (scaled)
  bin = Cast <to = 7> (whole)
  place = Add (bin, middle)
  y = Gather (table, place)
}
""",
    #: 1/x or 1/sqrt(x) of each element of x factor + bias; factor and bias int64.
    """
FixedInverse (x, factor, bias, table, levels, narrowings, shares) => (y) {
  wide = Cast <to = 7> (x)
  products = Mul (wide, factor)
  exact = Add (products, bias)
"""
    + _INVERTED,
    #: The same of the sum of squares over the last axis, plus a bias, int64.
    """
FixedInverseNorm (x, bias, table, levels, narrowings, shares) => (y) {
  axis = Constant <value = int64[1] {-1}> ()
  wide = Cast <to = 7> (x)
  squares = Mul (wide, wide)
  sums = ReduceSum <keepdims = 1> (squares, axis)
  exact = Add (sums, bias)
"""
    + _INVERTED,
)


@cache
def functions() -> tuple[onnx.FunctionProto, ...]:
    """Every fixed-point operation as an ONNX function."""
    head = f'<domain: "{DOMAIN}", opset_import: ["" : {OPSET}]>'
    return tuple(onnx.parser.parse_function(head + body) for body in _BODIES)
