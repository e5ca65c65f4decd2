"""Blocked dot products of int8 in TVMScript, with the instructions that a CPU has for them.

Every lane has four neighbouring products to add up at a time. One instruction may do all of it, or leave
several partial sums for each lane; those are added once, at the end.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from millstream.targets.tvm.literal import ramp
from millstream.targets.tvm.loops import Index, Loops, filled, indented
from millstream.targets.tvm.point import Point
from millstream_runtime.lanes import DOT, Dot, tile_axis
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
    axis = tile_axis(loops.stage, [dot.shared, dot.own])
    yield from loops.tiles(axis, lambda rows: _block(loops, dot, product, rows))


def _block(loops: Loops, dot: Dot, product: DotProduct, rows: Sequence[Index]) -> Iterator[str]:
    """The lanes at each of several places, which read the same weights."""
    width = loops.extents[loops.outer - 1]
    size = width * product.parts
    totals = [[loops.name() for _ in range(loops.sets(size, -2))] for _ in rows]
    for total in itertools.chain(*totals):
        yield from filled(total, size, "T.int32(0)", "int32")
    groups = range(loops.outer, len(loops.extents) - 2)
    yield from loops.nest(groups, _innermost(loops, dot, product, rows, totals))
    for row, (first, *others) in zip(rows, totals, strict=True):
        for other in others:
            yield f"{_part(first, size)} = {_part(first, size)} + {_part(other, size)}"
        sums = first
        if product.parts > 1:
            sums = loops.name()
            yield f"{sums} = T.alloc_buffer(({width},), 'int32')"
            terms = (f"{first}[{ramp(str(part), width, product.parts)}]" for part in range(product.parts))
            yield f"{_part(sums, width)} = {' + '.join(terms)}"
        yield from loops.finish_block(sums, width, row)


def _innermost(
    loops: Loops, dot: Dot, product: DotProduct, rows: Sequence[Index], totals: Sequence[Sequence[str]]
) -> Iterator[str]:
    """The last loop over groups, each set of totals a group further than the one before."""
    axis, last, sets = loops.outer - 1, len(loops.extents) - 2, len(totals[0])
    yield f"for i{last} in range({loops.extents[last] // sets}):"
    for number in range(sets):
        for row, total in zip(rows, totals, strict=True):
            group = f"(i{last} * {sets} + {number})"
            point = Point(loops.names, (*row[:axis], "0", *row[axis + 1 : -2], group, "0"))
            yield from indented(_group(loops, point, dot, product, total[number]))


def _group(loops: Loops, point: Point, dot: Dot, product: DotProduct, total: str) -> Iterator[str]:
    """Four products of every lane."""
    width = loops.extents[loops.outer - 1]
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
