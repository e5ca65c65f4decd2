"""The instruction of the engine: one loop nest, as a dataclass and as bits.

For i < n_i, j < n_j: the sum over k < n_k of data[a + i a_i + j a_j + k a_k] * data[b + ...] is rounded and
stored at out + i out_i + j out_j. With `lanes`, j counts tiles of results, the second factors come from the
weight memory, word after word from `weight`, and the results are counted by m_i and m_j. With `halves` too,
the weights have twice the bits of a word: each tile comes twice, first the high halves, then the low ones.
With `inverse`, the shift grows by 2 and the result shrinks by a bit, or by two if `twice`, for each power of
four that a sum reaches.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

ADDRESS = 16

#: Bits of the fields that are no addresses.
_WIDTHS = {"shift": 6, "lookup": 1, "inverse": 1, "twice": 1, "lanes": 1, "halves": 1, "last": 1}
#: Counts are stored less one.
_COUNTS = ("n_i", "n_j", "n_k", "m_i", "m_j")


@dataclass(frozen=True)
class Instruction:
    """Addresses and strides are in words; `shift` is in bits; `table` is the place of table entry 0."""

    a: int = 0
    a_i: int = 0
    a_j: int = 0
    a_k: int = 0
    b: int = 0
    b_i: int = 0
    b_j: int = 0
    b_k: int = 0
    out: int = 0
    out_i: int = 0
    out_j: int = 0
    bias: int = 0
    bias_i: int = 0
    bias_j: int = 0
    weight: int = 0
    n_i: int = 1
    n_j: int = 1
    n_k: int = 1
    m_i: int = 1
    m_j: int = 1
    low: int = 0
    high: int = 0
    table: int = 0
    shift: int = 0
    lookup: bool = False
    inverse: bool = False
    twice: bool = False
    lanes: bool = False
    halves: bool = False
    last: bool = False


NAMES = tuple(field.name for field in fields(Instruction))


def width(name: str) -> int:
    """Bits of a field."""
    return _WIDTHS.get(name, ADDRESS)


BITS = sum(width(name) for name in NAMES)


def encode(instruction: Instruction) -> int:
    """The instruction as a word of BITS bits, the first field lowest. Raises OverflowError."""
    word, place = 0, 0
    for name in NAMES:
        value = int(getattr(instruction, name)) - (name in _COUNTS)
        bits = width(name)
        if not -(1 << (bits - 1)) <= value < (1 << bits):
            raise OverflowError(f"{name} = {value} does not fit into {bits} bits")
        word |= (value & ((1 << bits) - 1)) << place
        place += bits
    return word


def header() -> str:
    """Verilog: where each field of `word` lies, so that this file alone decides it."""
    lines, place = [f"localparam INSTRUCTION_BITS = {BITS};"], 0
    for name in NAMES:
        bits = width(name)
        at = f"word[{place}]" if bits == 1 else f"word[{place + bits - 1}:{place}]"
        lines.append(f"`define FIELD_{name.upper()} {at}")
        place += bits
    return "\n".join(lines) + "\n"
