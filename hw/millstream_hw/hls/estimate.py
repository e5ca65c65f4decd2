"""What a network takes of a part and how long a frame lasts, before anything is built.

Multipliers and memories follow from the reuse factors. Logic and cycles are rules of thumb for pipelined
loops: no vendor tool was at hand to hold them against.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil, log2

from millstream_hw.estimate import Estimate, Share
from millstream_hw.hls.layers import Layer, Network
from millstream_hw.hls.sharing import multipliers, parallel
from millstream_hw.parts import Part

_WORD = 16
#: Cycles of a multiplier, and from the start of a loop to its first result.
_MULTIPLIER, _LOOP = 3, 2
#: The top: its ports and its order of things.
_TOP_TABLES, _TOP_REGISTERS, _TOP_CYCLES = 400, 600, 4
#: Rounding, saturation and choosing an operand, for each result that is computed at the same time.
_TABLES_A_RESULT = 3 * _WORD


def estimate(network: Network, reuse: Mapping[str, int], part: Part) -> Estimate:
    """Resources and cycles at these reuse factors."""
    layers = [layer for layer in network.layers if layer.name in reuse]
    factors = [(layer, reuse[layer.name]) for layer in layers]
    words = sum(network.layer(name).size for name in (*network.inputs, *network.outputs))
    kept = sum(layer.size for layer in network.layers if layer.kind != "gather")
    return Estimate(
        tables=_TOP_TABLES + sum(_tables(layer, factor) for layer, factor in factors),
        registers=_TOP_REGISTERS + _WORD * kept + sum(_registers(*each) for each in factors),
        multipliers=sum(multipliers(layer, factor) for layer, factor in factors),
        blocks=sum(blocks(layer, factor, part) for layer, factor in factors),
        cycles=_TOP_CYCLES + words + sum(cycles(layer, factor) for layer, factor in factors),
    )


def shares(network: Network, reuse: Mapping[str, int]) -> tuple[Share, ...]:
    """What each layer takes, in order; wires take nothing and are left out."""
    return tuple(
        Share(
            layer.name,
            layer.kind,
            layer.origin,
            multipliers(layer, reuse[layer.name]),
            sum(weights.integers.size for weights in layer.weights.values()),
            cycles(layer, reuse[layer.name]),
        )
        for layer in network.layers
        if layer.name in reuse
    )


def cycles(layer: Layer, factor: int) -> int:
    """From the first operand of a layer to its last result; layers run one after the other."""
    if layer.kind == "dense":
        return _LOOP + _MULTIPLIER + factor + ceil(log2(max(2, layer.length / factor)))
    sums = _MULTIPLIER + ceil(log2(layer.length)) if layer.length else 0
    return _LOOP + ceil(layer.size / parallel(layer, factor)) + sums


def blocks(layer: Layer, factor: int, part: Part) -> int:
    """Block RAMs: weights that take turns at a multiplier, and tables, which are read through two ports."""
    if layer.kind == "dense" and factor > 1:
        return part.blocks_of(factor, _WORD * multipliers(layer, factor))
    if "entry" in layer.weights:
        entries = len(layer.weights["entry"].integers)
        return part.blocks_of(entries, _WORD) * ceil(parallel(layer, factor) / 2)
    return 0


def _tables(layer: Layer, factor: int) -> int:
    adders = multipliers(layer, factor) * (layer.sums.bits if layer.sums else 0)
    results = layer.size if layer.kind == "dense" else parallel(layer, factor)
    return adders + _TABLES_A_RESULT * results


def _registers(layer: Layer, factor: int) -> int:
    return 2 * multipliers(layer, factor) * (layer.sums.bits if layer.sums else _WORD)
