"""What a network takes of a part and how long a frame lasts, before anything is built.

Multipliers and memories follow from the strategies. Logic and cycles are rules of thumb for pipelined
loops: no vendor tool was at hand to hold them against.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil, log2

from millstream_hw.estimate import Estimate, Share
from millstream_hw.hls.layers import Layer, Network
from millstream_hw.hls.sharing import adding, multipliers, parallel
from millstream_hw.hls.strategy import Strategy
from millstream_hw.parts import Part

_WORD = 16
#: Cycles of a multiplier, from the start of a loop to its first result, and of a rounding behind adders.
_MULTIPLIER, _LOOP, _ROUNDING = 3, 2, 1
#: The top: its ports and its order of things.
_TOP_TABLES, _TOP_REGISTERS, _TOP_CYCLES = 400, 600, 4
#: Rounding, saturation and choosing an operand, for each result that is computed at the same time.
_TABLES_A_RESULT = 3 * _WORD


def estimate(network: Network, strategies: Mapping[str, Strategy], part: Part) -> Estimate:
    """Resources and cycles with these strategies."""
    layers = [(layer, strategies[layer.name]) for layer in network.layers if layer.name in strategies]
    words = sum(network.layer(name).size for name in (*network.inputs, *network.outputs))
    kept = sum(layer.size for layer in network.layers if layer.kind != "gather")
    return Estimate(
        tables=_TOP_TABLES + sum(_tables(*each) for each in layers),
        registers=_TOP_REGISTERS + _WORD * kept + sum(_registers(*each) for each in layers),
        multipliers=sum(multipliers(*each) for each in layers),
        blocks=sum(blocks(*each, part) for each in layers),
        cycles=_TOP_CYCLES + words + sum(cycles(*each) for each in layers),
    )


def shares(network: Network, strategies: Mapping[str, Strategy]) -> tuple[Share, ...]:
    """What each layer takes, in order; wires take nothing and are left out."""
    return tuple(
        Share(
            layer.name,
            layer.kind,
            layer.origin,
            multipliers(layer, strategies[layer.name]),
            sum(weights.integers.size for weights in layer.weights.values()),
            cycles(layer, strategies[layer.name]),
            strategies[layer.name].told,
        )
        for layer in network.layers
        if layer.name in strategies
    )


def cycles(layer: Layer, strategy: Strategy) -> int:
    """From the first operand of a layer to its last result; layers run one after the other."""
    if strategy.adders:
        return strategy.adders.levels + _ROUNDING
    if layer.kind == "dense":
        return _LOOP + _MULTIPLIER + strategy.reuse + ceil(log2(max(2, layer.length / strategy.reuse)))
    sums = _MULTIPLIER + ceil(log2(layer.length)) if layer.length else 0
    return _LOOP + ceil(layer.size / parallel(layer, strategy)) + sums


def blocks(layer: Layer, strategy: Strategy, part: Part) -> int:
    """Block RAMs: weights that take turns at a multiplier, and tables, which are read through two ports."""
    if layer.kind == "dense" and strategy.reuse > 1:
        return part.blocks_of(strategy.reuse, _WORD * multipliers(layer, strategy))
    if "entry" in layer.weights:
        entries = len(layer.weights["entry"].integers)
        return part.blocks_of(entries, _WORD) * ceil(parallel(layer, strategy) / 2)
    return 0


def _tables(layer: Layer, strategy: Strategy) -> int:
    results = layer.size if layer.kind == "dense" else parallel(layer, strategy)
    return adding(layer, strategy) + _TABLES_A_RESULT * results


def _registers(layer: Layer, strategy: Strategy) -> int:
    if strategy.adders:
        # Each bit of an adder is kept for the cycle of the next level.
        return strategy.adders.tables
    return 2 * multipliers(layer, strategy) * (layer.sums.bits if layer.sums else _WORD)
