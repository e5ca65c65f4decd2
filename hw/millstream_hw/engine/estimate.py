"""What an engine takes of a part and how long a frame lasts, before anything is built.

Memories and cycles are exact; logic is a straight line through what was synthesized (docs/fpga.md).
"""

from __future__ import annotations

from collections.abc import Iterator

from millstream_hw.circuit import Circuit, Inverse, InverseNorm, Operation, Product, Scale, Table
from millstream_hw.engine.files import depth
from millstream_hw.engine.image import Image
from millstream_hw.engine.instruction import BITS, Instruction
from millstream_hw.estimate import Estimate, Share
from millstream_hw.parts import Part

#: Cycles from the last product of an instruction to the first of the next one.
_BETWEEN = 18
#: And more, when the machine finds the leading one of its sums.
_INVERSE = 7
#: Synthesis makes logic of a program that is no longer, by family.
_SHORT_PROGRAM = {"ecp5": 128, "xilinx": 128, "ice40": 64}
#: Cycles from a sum to its place in the data memory.
_PIPELINE = 10
#: Cycles from the last word in to the first instruction, and for each word out.
_START, _WORD_OUT = 4, 4


def estimate(image: Image, part: Part) -> Estimate:
    """Resources and cycles of an engine on a part."""
    return Estimate(
        tables=_tables(image),
        registers=_registers(image),
        multipliers=image.lanes,
        blocks=sum(part.blocks_of(words, bits) for words, bits in memories(image, part)),
        cycles=frame_cycles(image),
        sprams=part.sprams_of(image.load_words, 16 * image.parts) if part.sprams else 0,
    )


def shares(image: Image, circuit: Circuit) -> tuple[Share, ...]:
    """What each operation takes, in order; those that are only addresses take nothing and are left out."""
    program = list(zip(image.owners, image.program[image.frame_start :], strict=True))
    found = []
    for operation in circuit.operations:
        own = [each for owner, each in program if owner == operation.output]
        if own:
            kind, words = type(operation.work).__name__.lower(), _constants(operation)
            lanes = image.lanes if any(each.lanes for each in own) else 1
            cycles = sum(_cycles(each, image) for each in own)
            found.append(Share(operation.output, kind, operation.origin, lanes, words, cycles))
    carried = sum(_cycles(each, image) for owner, each in program if not owner)
    port = frame_cycles(image) - carried - sum(share.cycles for share in found)
    found.append(Share("states and results", "move", "", 1, 0, carried))
    found.append(Share("the port", "port", "", 0, 0, port))
    return tuple(found)


def _constants(operation: Operation) -> int:
    """Words of weights, factors or table entries; biases lie in a memory of their own width."""
    match operation.work:
        case Product() as product:
            return product.weight.size
        case Scale() as scale:
            return scale.factor.size
        case Table() as table:
            return len(table.table)
        case Inverse() | InverseNorm() as inverse:
            return len(inverse.curve.table)
        case _:
            return 0


def memories(image: Image, part: Part) -> Iterator[tuple[int, int]]:
    """Words and bits of each memory in block RAM. Data lies there twice: two operands are read at once.
    Weights and tables lie in SPRAM where the part has it; its block RAMs are small: nothing is rounded up.
    """
    yield from 2 * [(len(image.data) if part.sprams else depth(len(image.data)), 16)]
    if not part.sprams:
        count, bits = image.weight_words
        yield depth(count), bits
        yield depth(len(image.tables)), 16
    yield image.bias_words
    if depth(len(image.program)) > _SHORT_PROGRAM[part.family]:
        yield depth(len(image.program)), BITS


def frame_cycles(image: Image) -> int:
    """Cycles from the first word in to the last word out, when nobody lets the circuit wait."""
    work = sum(_cycles(each, image) for each in image.program[image.frame_start :])
    return image.in_words + _START + work - 1 + _WORD_OUT * image.out_words


def _cycles(it: Instruction, image: Image) -> int:
    after = _INVERSE if image.inverts else 0
    leaving = _leaving(it, image.lanes, _PIPELINE + after) if it.lanes else 0
    return it.n_i * it.n_j * it.n_k + _BETWEEN + after + leaving


def _leaving(it: Instruction, lanes: int, pipeline: int) -> int:
    """Cycles that the last tile takes longer to leave than a single result: one for each further result, or,
    when few lanes hold one, until the empty ones have passed."""
    tiles = it.n_j // 2 if it.halves else it.n_j
    results = it.m_j - (tiles - 1) * lanes
    return max(results - 1, lanes - 1 - pipeline)


def _tables(image: Image) -> int:
    return 1200 + round(3.6 * image.sum_bits * image.lanes)


def _registers(image: Image) -> int:
    return 1000 + (2 * image.sum_bits + 64) * image.lanes
