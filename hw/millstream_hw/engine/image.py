"""What the engine holds in its memories, and what that means: a slow model of the machine in NumPy."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from millstream.quantize.fixed_point.inverse import MANTISSA_BITS
from millstream_hw.engine.instruction import Instruction


@dataclass(frozen=True)
class Image:
    """The contents of the memories before the first reset, and the places that ports and programs have.

    `data` int16; `weights` (words, lanes) int16, within `weight_bits`; `biases` int64, within `sum_bits`;
    `tables` int16. The reset program starts at 0, the frame program at `frame_start`. `states` holds the
    address of each element of each state, by the name of its port. `owners` says for each instruction of the
    frame program which value of the circuit it computes; empty for what carries states and results.
    """

    lanes: int
    weight_bits: int
    sum_bits: int
    data: np.ndarray
    weights: np.ndarray
    biases: np.ndarray
    tables: np.ndarray
    program: tuple[Instruction, ...]
    frame_start: int
    in_base: int
    in_words: int
    out_base: int
    out_words: int
    states: dict[str, np.ndarray]
    owners: tuple[str, ...]

    @cached_property
    def inverts(self) -> bool:
        """Whether the machine has to find the leading one of its sums."""
        return any(instruction.inverse for instruction in self.program)

    @property
    def weight_words(self) -> tuple[int, int]:
        """How many words the weight memory has, and the bits of one."""
        return len(self.weights), self.lanes * self.weight_bits

    @property
    def parts(self) -> int:
        """Words of 16 bits that hold one word of weights."""
        return -(-self.weight_words[1] // 16)

    @property
    def fold(self) -> int:
        """Entries of a table that lie in the place of a word of weights: a power of two."""
        return 1 << (self.parts.bit_length() - 1)

    @property
    def load_words(self) -> int:
        """Words of weights and tables together, where they lie in one memory."""
        return len(self.weights) + -(-len(self.tables) // self.fold)

    @property
    def bias_words(self) -> tuple[int, int]:
        """How many words the bias memory has, two at least, and the bits of one."""
        return max(2, len(self.biases)), int(np.abs(self.biases).max()).bit_length() + 1


def reset(image: Image) -> np.ndarray:
    """The data memory after a reset, int16."""
    data = image.data.copy()
    for instruction in image.program[: image.frame_start]:
        _execute(image, instruction, data)
    return data


def frame(image: Image, data: np.ndarray, words: np.ndarray) -> np.ndarray:
    """One frame: `data` is changed in place, the results (out_words,) int16 are returned."""
    data[image.in_base : image.in_base + image.in_words] = words
    for instruction in image.program[image.frame_start :]:
        _execute(image, instruction, data)
    return data[image.out_base : image.out_base + image.out_words].copy()


def _execute(image: Image, it: Instruction, data: np.ndarray) -> None:
    sums = _lane_sums(image, it, data) if it.lanes else _sums(it, data)
    shape = (it.m_i, it.m_j)
    biased = sums + image.biases[_places(shape, it.bias, it.bias_i, it.bias_j)]
    level = _levels(biased, it.shift) if it.inverse else np.zeros_like(biased)
    kept = np.clip(biased >> (it.shift + 2 * level), it.low, it.high)
    if it.lookup:
        kept = image.tables[it.table + kept]
    if it.inverse:
        doubled = kept.astype(np.int64) << 3 >> np.minimum(level << it.twice, 31)
        kept = np.minimum((doubled + 1) >> 1, 32767)
    # In this order, as the machine writes: a move may overlap itself.
    for place, value in zip(_places(shape, it.out, it.out_i, it.out_j).flat, kept.flat, strict=True):
        data[place] = value


def _levels(sums: np.ndarray, shift: int) -> np.ndarray:
    """How many pairs of bits the leading one of each sum lies above the pair that `shift` leaves on top."""
    lowest = (shift + MANTISSA_BITS) // 2
    leading = [max(int(value), 0).bit_length() - 1 >> 1 for value in sums.flat]
    return np.maximum(np.array(leading, np.int64).reshape(sums.shape) - lowest, 0)


def _sums(it: Instruction, data: np.ndarray) -> np.ndarray:
    shape = (it.n_i, it.n_j, it.n_k)
    a = data[_places(shape, it.a, it.a_i, it.a_j, it.a_k)].astype(np.int64)
    b = data[_places(shape, it.b, it.b_i, it.b_j, it.b_k)].astype(np.int64)
    return (a * b).sum(-1)


def _lane_sums(image: Image, it: Instruction, data: np.ndarray) -> np.ndarray:
    words = image.weights[it.weight : it.weight + it.n_j * it.n_k].astype(np.int64)
    words = words.reshape(it.n_j, it.n_k, image.lanes)
    if it.halves:
        bits = image.weight_bits
        words = (words[0::2] << bits) + (words[1::2] & ((1 << bits) - 1))
    x = data[_places((it.n_k,), it.a, it.a_k) % len(data)].astype(np.int64)
    sums = np.einsum("k,tkl->tl", x, words)
    return sums.reshape(1, -1)[:, : it.m_j]


def _places(shape: tuple[int, ...], base: int, *strides: int) -> np.ndarray:
    places = np.full(shape, base)
    for grid, stride in zip(np.indices(shape), strides, strict=True):
        places += grid * stride
    return places
