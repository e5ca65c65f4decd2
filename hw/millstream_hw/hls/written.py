"""What the adders add up to that da4ml wrote as C++: each line of it is a sum of operands times constants."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from millstream_hw.hls.fixed import Fixed

_LINE = re.compile(
    r"^\s*(?:ap_(u?)fixed<(\d+),(-?\d+)> v(\d+) = (.*?)|model_out\[(\d+)\] = (.*?));", re.MULTILINE
)
_CAST = re.compile(r"ap_(u?)fixed<(\d+),(-?\d+)>\((.*)\)$")
_TERM = re.compile(
    r"\s*([+-]?)\s*(?:model_inp\[(\d+)\]|(?:bit_shift<(-?\d+)>\()?v(\d+)\b\)?"
    r"|(?:ap_u?fixed<\d+,-?\d+>\()?(\d+(?:\.\d+)?(?:e[+-]?\d+)?)\)?)\s*"
)


@dataclass(frozen=True)
class Sums:
    """The results of a function of adders: the operands times `matrix` (operands, results), plus `constants`
    (results,), float64. `narrow` names the values whose type does not hold every sum."""

    matrix: np.ndarray
    constants: np.ndarray
    narrow: tuple[str, ...]


def sums(code: str, operands: int, results: int, operand: Fixed) -> Sums:
    """The sums of one function, exactly. Each operand is an integer of the type `operand`.

    Raises ValueError naming a line that is no sum.
    """
    values: dict[str, np.ndarray] = {}
    found = np.full((operands + 1, results), np.nan)
    narrow = []
    for sign, bits, whole, name, place, text in _lines(code):
        value = _value(text, values, operands)
        if bits and not _holds(Fixed(int(bits), int(bits) - int(whole), not sign), value, operand):
            narrow.append(name or f"result {place}")
        if name:
            values[name] = value
        else:
            found[:, int(place)] = value
    return Sums(found[:-1], found[-1], tuple(narrow))


def _lines(code: str) -> Iterator[tuple[str, ...]]:
    """Of each line: its type (u, bits, bits before the point), the name of its value or the place of its
    result, and what it adds up."""
    for sign, bits, whole, name, text, place, result in _LINE.findall(code):
        cast = _CAST.match(result)
        if name:
            yield sign, bits, whole, name, "", text
        elif cast:
            yield *cast.groups()[:3], "", place, cast[4]
        else:
            yield "", "", "", "", place, result


def _value(text: str, values: dict[str, np.ndarray], operands: int) -> np.ndarray:
    """A sum as (operands + 1,): the factor of each operand, then the constant."""
    total, at = np.zeros(operands + 1), 0
    while at < len(text):
        term = _TERM.match(text, at)
        if term is None or (term[4] and term[4] not in values):
            raise ValueError(text)
        sign, operand, shift, name, constant = term.groups()
        if name:
            added = values[name] * 2.0 ** int(shift or 0)
        else:
            added = np.zeros(operands + 1)
            added[int(operand) if operand else -1] = 1 if operand else float(constant)
        total = total - added if sign == "-" else total + added
        at = term.end()
    return total


def _holds(kind: Fixed, value: np.ndarray, operand: Fixed) -> bool:
    """Whether a type holds a sum, whatever the operands are."""
    scaled = value * 2.0**kind.fraction
    ends = np.outer((operand.lowest, operand.highest), scaled[:-1])
    low, high = (ends.min(0).sum() + scaled[-1], ends.max(0).sum() + scaled[-1])
    return bool(kind.lowest <= low and high <= kind.highest and np.array_equal(scaled, np.rint(scaled)))
