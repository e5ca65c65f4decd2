"""The FPGAs that are known: what each has, and which tools make its bitstream."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from millstream_hw.errors import UnknownPart

#: Words of 16 bits of one SPRAM.
SPRAM_WORDS = 16384
#: Bits to choose among that are worth a block RAM to Yosys (a block costs 64 or 128 there, two bits cost 1).
_CHOSEN_BITS = 128
#: (words, bits of a word) that one block RAM can be.
Shapes = tuple[tuple[int, int], ...]

_BITS_18K: Shapes = ((512, 36), (1024, 18), (2048, 9), (4096, 4), (8192, 2), (16384, 1))
_BITS_4K: Shapes = ((256, 16), (512, 8), (1024, 4), (2048, 2))


@dataclass(frozen=True)
class Part:
    """Logic cells are 4-input (open parts) or 6-input tables; `multipliers` take 16 x 16 bits; `sprams` are
    memories of 16,384 words of 16 bits that wake up empty.

    `place` are the arguments of nextpnr; empty for a part that only its vendor's tools serve, which call it
    `device`.
    """

    name: str
    family: str
    tables: int
    registers: int
    multipliers: int
    blocks: int
    block: Shapes
    clock_mhz: float
    place: tuple[str, ...] = ()
    device: str = ""
    sprams: int = 0

    def blocks_of(self, words: int, bits: int) -> int:
        """How many block RAMs hold that memory. Synthesis takes one more sooner than it chooses among the
        words of many."""
        shapes = ((math.ceil(words / deep), math.ceil(bits / wide)) for deep, wide in self.block)
        rows, columns = min(shapes, key=lambda s: s[0] * s[1] + (s[0] - 1) * (bits + 1) / _CHOSEN_BITS)
        return rows * columns

    def sprams_of(self, words: int, bits: int) -> int:
        """How many SPRAMs hold that memory."""
        return math.ceil(words / SPRAM_WORDS) * math.ceil(bits / 16)


def _ecp5(name: str, size: str, tables: int, multipliers: int, blocks: int) -> Part:
    place = (f"--{size}", "--package", "CABGA381", "--speed", "6")
    return Part(name, "ecp5", tables, tables, multipliers, blocks, _BITS_18K, 100.0, place)


def _xilinx(name: str, tables: int, multipliers: int, blocks: int, clock_mhz: float, device: str) -> Part:
    sizes = (tables, 2 * tables, multipliers, blocks)
    return Part(name, "xilinx", *sizes, _BITS_18K, clock_mhz, device=device)


PARTS: Mapping[str, Part] = {
    part.name: part
    for part in (
        _ecp5("lfe5u-25f", "25k", 24288, 28, 56),
        _ecp5("lfe5u-45f", "45k", 43848, 72, 108),
        _ecp5("lfe5u-85f", "85k", 83640, 156, 208),
        Part(
            *("ice40up5k", "ice40", 5280, 5280, 8, 30, _BITS_4K, 24.0, ("--up5k", "--package", "sg48")),
            sprams=4,
        ),
        _xilinx("xc7a35t", 20800, 90, 100, 100.0, "xc7a35tcpg236-1"),
        _xilinx("xc7z020", 53200, 220, 280, 100.0, "xc7z020clg400-1"),
        _xilinx("xcku5p", 216960, 1824, 960, 200.0, "xcku5p-ffvb676-2-e"),
    )
}


def part_named(name: str) -> Part:
    """The part of that name. Raises UnknownPart naming those that are known."""
    if name not in PARTS:
        raise UnknownPart(f"no part is called {name!r}", fix="use one of " + ", ".join(PARTS))
    return PARTS[name]
