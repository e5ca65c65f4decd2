"""The instructions that CPUs have for groups of four products of int8, in TVMScript."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from millstream_runtime.lanes import DOT


@dataclass(frozen=True)
class DotProduct:
    """How a CPU adds up groups of four products of int8.

    It takes up to `lanes` lanes at a time, a power of two, and keeps `parts` sums of each. `add` prints the
    new sums from the number of lanes and the texts of the old sums (int32 x lanes * parts), of the factor
    that all lanes share, repeated for each lane, and of their own (both int8 x 4 * lanes). An `unsigned` one
    takes the shared factor as uint8.
    """

    lanes: int
    parts: int
    add: Callable[[int, str, str, str], str]
    unsigned: bool = False


def _groups(names: Mapping[int, str]) -> Callable[[int, str, str, str], str]:
    """One instruction adds four products to each lane; its name for each number of lanes."""

    def add(lanes: int, total: str, shared: str, own: str) -> str:
        return f"T.call_llvm_pure_intrin('int32x{lanes}', '{names[lanes]}', {total}, {shared}, {own})"

    return add


def _pairs(lanes: int, total: str, shared: str, own: str) -> str:
    """x86 without dot products: two products of int16 are added at a time."""
    name = {8: "avx512.pmaddw.d.512", 4: "avx2.pmadd.wd", 2: "sse2.pmadd.wd"}[lanes]
    factors = ", ".join(f"T.Cast('int16x{DOT * lanes}', {x})" for x in (shared, own))
    return f"{total} + T.call_llvm_pure_intrin('int32x{2 * lanes}', 'llvm.x86.{name}', {factors})"


def _products(lanes: int, total: str, shared: str, own: str) -> str:
    """Any CPU: one product of int32 after the other."""
    dtype = f"int32x{DOT * lanes}"
    return f"{total} + T.Cast('{dtype}', {shared}) * T.Cast('{dtype}', {own})"


_VPDPBUSD = {lanes: f"llvm.x86.avx512.vpdpbusd.{32 * lanes}" for lanes in (4, 8, 16)}
AVX512_VNNI = DotProduct(16, 1, _groups(_VPDPBUSD), unsigned=True)
AVX_VNNI = DotProduct(8, 1, _groups(_VPDPBUSD), unsigned=True)
AVX512 = DotProduct(8, 2, _pairs)
AVX2 = DotProduct(4, 2, _pairs)
SSE2 = DotProduct(2, 2, _pairs)
ARM_DOTPROD = DotProduct(4, 1, _groups({4: "llvm.aarch64.neon.sdot.v4i32.v16i8"}))
PLAIN = DotProduct(4, DOT, _products)
