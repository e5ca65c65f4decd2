"""What an engine takes of a part and how long a frame lasts, before anything is built.

Memories and cycles are exact; logic is a straight line through what was synthesized (docs/fpga.md).
"""

from __future__ import annotations

from collections.abc import Iterator

from millstream_hw.engine.files import depth
from millstream_hw.engine.image import Image
from millstream_hw.engine.instruction import BITS, Instruction
from millstream_hw.estimate import Estimate
from millstream_hw.parts import Part

#: Cycles from the last product of an instruction to the first of the next one.
_BETWEEN = 17
#: Synthesis makes logic of a program that is no longer.
_SHORT_PROGRAM = 128
#: Cycles from a sum to its place in the data memory.
_PIPELINE = 9
#: Cycles from the last word in to the first instruction, and for each word out.
_START, _WORD_OUT = 4, 4


def estimate(image: Image, part: Part) -> Estimate:
    """Resources and cycles of an engine on a part."""
    return Estimate(
        tables=_tables(image),
        registers=_registers(image),
        multipliers=image.lanes,
        blocks=sum(part.blocks_of(words, bits) for words, bits in memories(image)),
        cycles=frame_cycles(image),
    )


def memories(image: Image) -> Iterator[tuple[int, int]]:
    """Words and bits of each memory in block RAM. Data lies there twice: two operands are read at once."""
    yield from 2 * [(depth(len(image.data)), 16)]
    yield depth(len(image.weights)), 16 * image.lanes
    yield depth(len(image.biases)), image.sum_bits
    yield depth(len(image.tables)), 16
    if depth(len(image.program)) > _SHORT_PROGRAM:
        yield depth(len(image.program)), BITS


def frame_cycles(image: Image) -> int:
    """Cycles from the first word in to the last word out, when nobody lets the circuit wait."""
    work = sum(_cycles(each, image.lanes) for each in image.program[image.frame_start :])
    return image.in_words + _START + work - 1 + _WORD_OUT * image.out_words


def _cycles(it: Instruction, lanes: int) -> int:
    return it.n_i * it.n_j * it.n_k + _BETWEEN + (_leaving(it, lanes) if it.lanes else 0)


def _leaving(it: Instruction, lanes: int) -> int:
    """Cycles that the last tile takes longer to leave than a single result: one for each further result, or,
    when few lanes hold one, until the empty ones have passed."""
    results = it.m_j - (it.n_j - 1) * lanes
    return max(results - 1, lanes - 1 - _PIPELINE)


def _tables(image: Image) -> int:
    return 1200 + round(3.6 * image.sum_bits * image.lanes)


def _registers(image: Image) -> int:
    return 1000 + (2 * image.sum_bits + 64) * image.lanes
