"""What of a fixed-point step can be narrowed, and how much each bit of it weighs.

Logic for a product by constants grows with the bits of both factors, so a bit of a value weighs as many
constants as multiply it, and a bit of constants as many as there are. What multiplies another value keeps all
its bits, and so do inverses and what is 0 or 1.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import onnx

from millstream.coarse import DOMAIN
from millstream.graph import StepGraph, initializers, tensor
from millstream.quantize.fixed_point.functions import (
    CONTRACT,
    INVERSE,
    INVERSE_NORM,
    PRODUCT,
    SCALE,
)
from millstream.quantize.fixed_point.rewrite import Ready, written
from millstream.quantize.fixed_point.widths import Widths
from millstream.quantize.fixed_point.writer import real_name


@dataclass(frozen=True)
class Narrowable:
    """A group of values, or the constants of an operation when `constant`, as `Widths` names them; `operands`
    is how many factors or terms have its bits."""

    name: str
    constant: bool
    operands: int

    def __str__(self) -> str:
        return f"{'constants' if self.constant else 'values'} of {self.name}"


def narrowables(form: Ready) -> tuple[Narrowable, ...]:
    """Everything whose bits can be chosen."""
    graph = written(form, Widths())
    constants = initializers(graph.model)
    kept = set(form.ranges.whole)
    factors: dict[str, int] = {}
    reads: dict[str, int] = {}
    sizes = _sizes(graph)
    for node in graph.model.graph.node:
        output = node.output[0]
        if node.domain == DOMAIN:
            count = sizes[output]
            if node.op_type in (PRODUCT, SCALE):
                factor = constants[node.input[1]]
                # A factor for all is wired to each.
                each = sizes[output] // factor.size if node.op_type == SCALE else 1
                count = max(int(np.count_nonzero(factor)) * each, 1)
                factors[real_name(output)] = count
            if node.op_type == CONTRACT:
                kept.update(_groups(form, node))
            if node.op_type in (INVERSE, INVERSE_NORM):
                kept.add(form.ranges.group(real_name(output)))
            for group in set(_groups(form, node)):
                reads[group] = reads.get(group, 0) + count
        if node.domain == DOMAIN or node.op_type == "QuantizeLinear":
            group = form.ranges.group(real_name(output))
            reads.setdefault(group, 0)
    return (
        *(Narrowable(name, True, count) for name, count in factors.items()),
        *(
            Narrowable(name, False, max(count, 1))
            for name, count in reads.items()
            if name in form.ranges.largest and name not in kept
        ),
    )


def widths(bits: Mapping[Narrowable, int]) -> Widths:
    """The widths of what is narrowed."""
    return Widths(
        {each.name: count for each, count in bits.items() if not each.constant},
        {each.name: count for each, count in bits.items() if each.constant},
    )


def _groups(form: Ready, node: onnx.NodeProto) -> Iterator[str]:
    """The groups of the values that an operation reads."""
    known = set(form.names)
    for name in node.input:
        real = real_name(name)
        if real != name and real in known:
            yield form.ranges.group(real)


def _sizes(graph: StepGraph) -> dict[str, int]:
    """How many numbers each value has, without batch."""
    return {
        value.name: int(np.prod([length or 1 for length in tensor(value).shape[1:]], dtype=np.int64))
        for value in graph.model.graph.value_info
    }
