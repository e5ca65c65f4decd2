"""Blocked dot products of int8 in TVMScript, with the instructions that a CPU has for them.

Every lane has four neighbouring products to add up at a time. One instruction may do all of it, or leave
several partial sums for each lane; those are added once, at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from millstream.targets.tvm.literal import ramp
from millstream.targets.tvm.loops import Loops, filled, indented
from millstream.targets.tvm.point import Point
from millstream_runtime.lanes import DOT, Dot
from millstream_runtime.program import Access

#: Each byte of an int32 with its highest bit turned: int8 becomes uint8, 128 more.
_TURN = -0x7F7F7F80


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


def dot_block_lines(loops: Loops, dot: Dot, product: DotProduct) -> Iterator[str]:
    """All lanes of the last axis at once, then the value of each."""
    yield from loops.nest(range(loops.outer - 1), _block(loops, dot, product))


def _block(loops: Loops, dot: Dot, product: DotProduct) -> Iterator[str]:
    width, parts = loops.extents[loops.outer - 1], product.parts
    totals = [loops.name() for _ in range(loops.sets(width * parts, -2))]
    for total in totals:
        yield from filled(total, width * parts, "T.int32(0)", "int32")
    groups = range(loops.outer, len(loops.extents) - 2)
    yield from loops.nest(groups, _innermost(loops, dot, product, totals, width))
    sums = totals[0]
    for other in totals[1:]:
        yield f"{_part(sums, width * parts)} = {_part(sums, width * parts)} + {_part(other, width * parts)}"
    if parts > 1:
        sums = loops.name()
        yield f"{sums} = T.alloc_buffer(({width},), 'int32')"
        terms = (f"{totals[0]}[{ramp(str(part), width, parts)}]" for part in range(parts))
        yield f"{_part(sums, width)} = {' + '.join(terms)}"
    yield from loops.finish_block(sums, width)


def _innermost(loops: Loops, dot: Dot, product: DotProduct, totals: list[str], width: int) -> Iterator[str]:
    """The last loop over groups, each set of totals a group further than the one before."""
    last, sets = len(loops.extents) - 2, len(totals)
    yield f"for i{last} in range({loops.extents[last] // sets}):"
    for number, total in enumerate(totals):
        index = (*loops.index[: loops.outer - 1], "0", *loops.index[loops.outer : -2])
        point = Point(loops.names, (*index, f"(i{last} * {sets} + {number})", "0"))
        yield from indented(_group(loops, point, dot, product, total, width))


def _group(
    loops: Loops, point: Point, dot: Dot, product: DotProduct, total: str, width: int
) -> Iterator[str]:
    """Four products of every lane."""
    lanes = min(product.lanes, width)
    four = loops.name()
    yield f"{four}: T.let = T.reinterpret('int32', {point.run(dot.shared.access, DOT)})"
    turned = f"T.bitwise_xor({four}, T.int32({_TURN}))" if dot.offset else four
    shared = f"T.reinterpret('int8x{DOT * lanes}', T.Broadcast({turned}, {lanes}))"
    for lane in range(0, width, lanes):
        own = point.run(_behind(dot.own.access, lane * DOT), DOT * lanes)
        place = f"{total}[{ramp(str(lane * product.parts), lanes * product.parts)}]"
        yield f"{place} = {product.add(lanes, place, shared, own)}"


def _behind(access: Access, elements: int) -> Access:
    return Access(access.buffer, access.offset + elements, access.strides)


def _part(name: str, width: int) -> str:
    return f"{name}[{ramp('0', width)}]"
