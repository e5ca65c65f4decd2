"""Exact sums of int8 products, four of them at a time: devices have an instruction for that.

A stage whose sum is cut into groups of `DOT` bytes that lie side by side (`columns.py`) is computed on the
words that they are, int32 to a device. To all else here it is a sum over words, as others are over floats:

    y[n] = sum over j, and k < 4, of int32(v[j, n, k]) * int32(x[4 j + k])    becomes
    y[n] = sum over j of dot(v[j, n], x[j])
"""

from __future__ import annotations

from dataclasses import replace

from millstream_runtime.lanes import DOT, dot_factors
from millstream_runtime.program import Access, Call, Expression, Load, Stage

#: What is added up of two words, an operation of kernels alone.
_DOT_OF_WORDS = "dot"
#: A word to a device.
WORD = "int32"


def in_words(stage: Stage) -> Stage:
    """The stage on words, where its sum is one of whole words; else the stage itself."""
    reduction, factors = stage.reduction, dot_factors(stage)
    if reduction is None or factors is None or reduction.kept or len(reduction.extents) < 2:
        return stage
    last = len(stage.all_extents) - 1
    if reduction.extents[-1] != DOT or not all(has_words(load.access, last) for load in factors):
        return stage
    operand = Call(_DOT_OF_WORDS, tuple(Load(_of_words(load.access), WORD) for load in factors), WORD)
    return replace(stage, reduction=replace(reduction, extents=reduction.extents[:-1], operand=operand))


def has_words(access: Access, axis: int) -> bool:
    """Whether every `DOT` bytes along an axis are a word."""
    others = [stride for other, stride in enumerate(access.strides) if other != axis]
    alone = access.strides[axis] == 1 and not access.lookups
    return alone and all(number % DOT == 0 for number in (access.offset, *others))


def words_of(array: str) -> str:
    """What an array of bytes is called where it is read in words."""
    return f"{array}_words"


def words_in(operand: Expression) -> tuple[Load, Load] | None:
    """The words whose bytes are multiplied, where that is what is added up."""
    match operand:
        case Call(operation, (Load() as x, Load() as y)) if operation == _DOT_OF_WORDS:
            return x, y
    return None


def _of_words(access: Access) -> Access:
    """The word of each group of bytes."""
    strides = tuple(stride // DOT for stride in access.strides[:-1])
    return Access(words_of(access.buffer), access.offset // DOT, strides)
