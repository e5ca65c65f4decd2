"""How many products of a layer share one multiplier, so that all layers fit the multipliers of a part."""

from __future__ import annotations

from collections.abc import Mapping

from millstream_hw.hls.layers import Layer, Network

#: Targets that are tried: the fastest first.
TARGETS = tuple(1 << power for power in range(17))
#: What computes nothing has nothing to share.
_WIRES = ("input", "gather")


def shared(network: Network, target: int) -> Mapping[str, int]:
    """The reuse factor of each layer that computes, by name: `target`, or the next one that it can have."""
    return {layer.name: reuse(layer, target) for layer in network.layers if layer.kind not in _WIRES}


def multipliers(layer: Layer, factor: int) -> int:
    """How many a layer has at a reuse factor."""
    if layer.kind == "dense":
        return -(-layer.products // factor)
    return parallel(layer, factor) * layer.length


def parallel(layer: Layer, factor: int) -> int:
    """Results that are computed at the same time."""
    return -(-layer.size // factor)


def reuse(layer: Layer, target: int) -> int:
    """The smallest reuse factor from `target` on that the layer can have, or its largest.

    hls4ml's Dense takes divisors of its inputs, and multiples of them that divide all its products.
    """
    if layer.kind != "dense":
        return min(target, layer.size)
    length, size = layer.length, layer.size
    factors = [n for n in range(1, length + 1) if length % n == 0]
    factors += [length * n for n in range(2, size + 1) if size % n == 0]
    return next((factor for factor in factors if factor >= target), factors[-1])
