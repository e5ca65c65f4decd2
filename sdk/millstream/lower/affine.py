"""When two addresses of one buffer meet: one stage's axes as affine functions of another's.

A writer stores element (k0, k1, ...) at offset + sum(k * stride); a reader visits the same buffer in its
own axes. `follow` finds, for every writer axis, the affine function of the reader's axes that gives the
same address, so that the writer's expression can be moved to the reader.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from millstream.lower.expression import add, constant, multiply
from millstream_runtime.program import Access, AxisIndex, Expression, Load, Lookup, rewrite


@dataclass(frozen=True)
class Affine:
    """offset + sum(coefficient * axis) over the reader's axes."""

    offset: int
    coefficients: tuple[int, ...]


def follow(
    reader: Access,
    reader_extents: Sequence[int],
    writer: Access,
    writer_extents: Sequence[int],
) -> tuple[Affine, ...] | None:
    """Writer axes in terms of reader axes, or None when no affine functions do it.

    None also when the reader leaves the writer's region, or when either address depends on data.
    """
    if reader.lookups or writer.lookups:
        return None
    axes = [k for k, extent in enumerate(writer_extents) if extent > 1]
    if any(writer.strides[k] <= 0 for k in axes):
        return None
    axes.sort(key=lambda k: -writer.strides[k])
    strides = [writer.strides[k] for k in axes]
    offsets = _digits(reader.offset - writer.offset, strides)
    columns = [
        _digits(stride if extent > 1 else 0, strides)
        for stride, extent in zip(reader.strides, reader_extents, strict=True)
    ]
    if offsets is None or any(column is None for column in columns):
        return None
    found = [Affine(0, (0,) * len(reader_extents))] * len(writer_extents)
    for place, k in enumerate(axes):
        coefficients = tuple(column[place] for column in columns if column is not None)
        found[k] = Affine(offsets[place], coefficients)
        low, high = _range(found[k], reader_extents)
        if low < 0 or high >= writer_extents[k]:
            return None
    return tuple(found)


def move(expression: Expression, axes: Sequence[Affine], rank: int) -> Expression:
    """The expression with its stage axes replaced; the new stage has `rank` axes."""

    def visit(found: Expression) -> Expression | None:
        if isinstance(found, AxisIndex):
            return _index(axes[found.axis])
        if isinstance(found, Load):
            return replace(found, access=move_access(found.access, axes, rank))
        return None

    return rewrite(expression, visit)


def move_access(access: Access, axes: Sequence[Affine], rank: int) -> Access:
    """The address with its stage axes replaced."""
    strides = [0] * rank
    offset = access.offset
    for stride, axis in zip(access.strides, axes, strict=True):
        offset += stride * axis.offset
        for j, coefficient in enumerate(axis.coefficients):
            strides[j] += stride * coefficient
    lookups = tuple(
        Lookup(move(lookup.index, axes, rank), lookup.extent, lookup.stride) for lookup in access.lookups
    )
    return Access(access.buffer, offset, tuple(strides), lookups)


def keep(rank: int, total: int) -> tuple[Affine, ...]:
    """The identity on `rank` axes of a stage that has `total`."""
    return tuple(Affine(0, tuple(int(j == k) for j in range(total))) for k in range(rank))


def _digits(value: int, strides: Sequence[int]) -> list[int] | None:
    """`value` written in the mixed radix of descending strides; negative values digit by digit."""
    sign = -1 if value < 0 else 1
    rest, digits = abs(value), []
    for stride in strides:
        digit, rest = divmod(rest, stride)
        digits.append(sign * digit)
    return None if rest else digits


def _range(affine: Affine, extents: Sequence[int]) -> tuple[int, int]:
    reaches = [c * (n - 1) for c, n in zip(affine.coefficients, extents, strict=True)]
    return (
        affine.offset + sum(min(reach, 0) for reach in reaches),
        affine.offset + sum(max(reach, 0) for reach in reaches),
    )


def _index(affine: Affine) -> Expression:
    result: Expression = constant(affine.offset, "int64")
    for axis, coefficient in enumerate(affine.coefficients):
        if coefficient:
            term: Expression = AxisIndex(axis)
            if coefficient != 1:
                term = multiply(term, constant(coefficient, "int64"))
            only = affine.offset == 0 and result == constant(0, "int64")
            result = term if only else add(result, term)
    return result
