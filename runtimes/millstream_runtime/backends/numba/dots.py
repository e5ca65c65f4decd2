"""The instructions that CPUs have for groups of four products of int8, as LLVM's functions.

One instruction may add up all four products of each lane, or leave several partial sums for each lane, which
are folded at the end. Importing this module imports numba: do so only once a plan is opened.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from llvmlite import ir

from millstream_runtime.backends.numba.values import Builder, Value, called, kind_of
from millstream_runtime.lanes import DOT


@dataclass(frozen=True)
class DotProduct:
    """How a CPU adds up groups of four products of int8.

    It takes up to `lanes` lanes at a time, a power of two, and keeps `parts` sums of each. `add` emits the
    new sums from the old ones (int32 x lanes * parts), from the factor that all lanes share, repeated for
    each lane, and from their own (both int8 x 4 * lanes). An `unsigned` one takes the shared factor as uint8.
    """

    lanes: int
    parts: int
    add: Callable[[Builder, Value, Value, Value], Value]
    unsigned: bool = False


def _vpdpbusd(builder: Builder, totals: Value, shared: Value, own: Value) -> Value:
    # LLVM took the bytes as words up to its version 21; it still reads that.
    words = [builder.bitcast(x, totals.type) for x in (shared, own)]
    return called(builder, f"llvm.x86.avx512.vpdpbusd.{32 * totals.type.count}", [totals, *words])


def _sdot(builder: Builder, totals: Value, shared: Value, own: Value) -> Value:
    return called(builder, "llvm.aarch64.neon.sdot.v4i32.v16i8", [totals, shared, own])


def _pairs(builder: Builder, totals: Value, shared: Value, own: Value) -> Value:
    """x86 without dot products: two products of int16 are added at a time."""
    name = {8: "avx512.pmaddw.d.512", 4: "avx2.pmadd.wd", 2: "sse2.pmadd.wd"}[totals.type.count // 2]
    factors = [builder.sext(x, kind_of("int16", x.type.count)) for x in (shared, own)]
    return builder.add(totals, called(builder, f"llvm.x86.{name}", factors, totals.type))


def _products(builder: Builder, totals: Value, shared: Value, own: Value) -> Value:
    """Any CPU: one product of int32 after the other."""
    return builder.add(totals, builder.mul(builder.sext(shared, totals.type), builder.sext(own, totals.type)))


AVX512_VNNI = DotProduct(16, 1, _vpdpbusd, unsigned=True)
AVX_VNNI = DotProduct(8, 1, _vpdpbusd, unsigned=True)
AVX512 = DotProduct(8, 2, _pairs)
AVX2 = DotProduct(4, 2, _pairs)
SSE2 = DotProduct(2, 2, _pairs)
ARM_DOTPROD = DotProduct(4, 1, _sdot)
PLAIN = DotProduct(4, DOT, _products)


def four_of(builder: Builder, address: Value, turned: bool) -> Value:
    """Four int8 as one int32; turned, each is a uint8, 128 more."""
    four = builder.load(address, typ=ir.IntType(32), align=1)
    # The highest bit of each byte.
    return builder.xor(four, four.type(-0x7F7F7F80)) if turned else four
