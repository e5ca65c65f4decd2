"""Groups of four products of int8 for printed loops, with the instructions that this CPU has for them.

One instruction may add up all four products of each lane, or leave several partial sums for each lane, which
are folded at the end. Importing this module imports numba: do so only once a plan is opened.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import llvmlite.binding
from llvmlite import ir
from numba import types
from numba.core.cgutils import get_or_insert_function
from numba.extending import intrinsic

from millstream_runtime.backends.numba.vectors import Vector, address_of, picked, repeated
from millstream_runtime.lanes import DOT

_BYTE, _SHORT, _WORD = ir.IntType(8), ir.IntType(16), ir.IntType(32)
#: Each byte of an int32 with its highest bit turned: int8 becomes uint8, 128 more.
_TURN = -0x7F7F7F80


@dataclass(frozen=True)
class DotProduct:
    """How a CPU adds up groups of four products of int8.

    It takes up to `lanes` lanes at a time, a power of two, and keeps `parts` sums of each. `add` emits the
    new sums from the old ones (int32 x lanes * parts), from the factor that all lanes share, repeated for
    each lane, and from their own (both int8 x 4 * lanes). An `unsigned` one takes the shared factor as uint8.
    """

    lanes: int
    parts: int
    add: Callable[..., Any]
    unsigned: bool = False


def _vpdpbusd(builder, totals, shared, own):
    # LLVM took the bytes as words up to its version 21; it still reads that.
    words = [builder.bitcast(x, totals.type) for x in (shared, own)]
    return _called(builder, f"llvm.x86.avx512.vpdpbusd.{32 * totals.type.count}", totals, *words)


def _sdot(builder, totals, shared, own):
    return _called(builder, "llvm.aarch64.neon.sdot.v4i32.v16i8", totals, shared, own)


def _pairs(builder, totals, shared, own):
    """x86 without dot products: two products of int16 are added at a time."""
    name = {8: "avx512.pmaddw.d.512", 4: "avx2.pmadd.wd"}[totals.type.count // 2]
    factors = [builder.sext(x, ir.VectorType(_SHORT, x.type.count)) for x in (shared, own)]
    return builder.add(totals, _called(builder, f"llvm.x86.{name}", *factors, kind=totals.type))


def _products(builder, totals, shared, own):
    """Any CPU: one product of int32 after the other."""
    factors = [builder.sext(x, totals.type) for x in (shared, own)]
    return builder.add(totals, builder.mul(*factors))


def _called(builder, name, *operands, kind=None):
    kind = kind or operands[0].type
    shape = ir.FunctionType(kind, [operand.type for operand in operands])
    return builder.call(get_or_insert_function(builder.module, shape, name), operands)


#: The feature that each needs, in LLVM's words; the first that a CPU has is the fastest for it.
_KNOWN = {
    "avx512vnni": DotProduct(16, 1, _vpdpbusd, unsigned=True),
    "avxvnni": DotProduct(8, 1, _vpdpbusd, unsigned=True),
    "avx512bw": DotProduct(8, 2, _pairs),
    "avx2": DotProduct(4, 2, _pairs),
    "dotprod": DotProduct(4, 1, _sdot),
}
_PLAIN = DotProduct(4, DOT, _products)


@cache
def dot_product() -> DotProduct:
    """The best of this CPU."""
    features = llvmlite.binding.get_host_cpu_features()
    return next((dot for name, dot in _KNOWN.items() if features.get(name)), _PLAIN)


@intrinsic(prefer_literal=True)
def four_of(typing, pointer, index, offset):
    """Four int8 as one int32; with an offset, which can only be 128, each is turned into a uint8."""

    def generate(context, builder, signature, arguments):
        four = builder.load(address_of(builder, arguments[0], arguments[1], _WORD), align=1)
        return builder.xor(four, _WORD(_TURN)) if offset.literal_value else four

    return types.int32(pointer, index, offset), generate


@intrinsic
def add_dots(typing, totals, four, own):
    """The totals (int32) with, in each lane, the products of the four shared int8 and its own four added."""

    def generate(context, builder, signature, arguments):
        dot = dot_product()
        sums, four, own = arguments
        width = own.type.count // DOT
        lanes = min(dot.lanes, width)
        shared = builder.bitcast(repeated(builder, four, lanes), ir.VectorType(_BYTE, DOT * lanes))
        pieces = [
            dot.add(
                builder,
                picked(builder, sums, range(first * dot.parts, (first + lanes) * dot.parts)),
                shared,
                picked(builder, own, range(first * DOT, (first + lanes) * DOT)),
            )
            for first in range(0, width, lanes)
        ]
        while len(pieces) > 1:
            pieces = [_beside(builder, *pair) for pair in zip(pieces[::2], pieces[1::2], strict=True)]
        return pieces[0]

    return totals(totals, four, own), generate


def _beside(builder, a, b):
    """Two vectors as one."""
    lanes = ir.Constant(ir.VectorType(_WORD, 2 * a.type.count), list(range(2 * a.type.count)))
    return builder.shuffle_vector(a, b, lanes)


@intrinsic(prefer_literal=True)
def fold_parts(typing, totals, parts):
    """The sum of the `parts` neighbours that each lane has."""
    count = parts.literal_value
    vector = Vector(totals.element, totals.width // count)

    def generate(context, builder, signature, arguments):
        value = arguments[0]
        terms = [picked(builder, value, range(part, totals.width, count)) for part in range(count)]
        while len(terms) > 1:
            terms = [builder.add(*pair) for pair in zip(terms[::2], terms[1::2], strict=True)]
        return terms[0]

    return vector(totals, parts), generate
