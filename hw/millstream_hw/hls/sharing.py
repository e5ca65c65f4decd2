"""How many products of a layer share one multiplier, and which do without, so that all layers fit a part."""

from __future__ import annotations

from collections.abc import Mapping

from millstream_hw.hls.layers import Layer, Network
from millstream_hw.hls.strategy import Adders, Strategy

#: Targets that are tried: the fastest first.
TARGETS = tuple(1 << power for power in range(17))
#: What computes nothing has nothing to share.
_WIRES = ("input", "gather")


def shared(network: Network, target: int) -> Mapping[str, Strategy]:
    """Multipliers for each layer that computes, by name: shared by `target` products, or by the next number
    of them that the layer can have."""
    return {
        layer.name: Strategy(reuse(layer, target)) for layer in network.layers if layer.kind not in _WIRES
    }


def mixed(
    network: Network, target: int, adders: Mapping[str, Adders], available: int
) -> Mapping[str, Strategy]:
    """`shared`, but that some of the layers that `adders` names have no multipliers.

    These are the ones whose adders are no more logic than what would add up their products; and then, until
    the `available` multipliers suffice, those where a multiplier is saved for the least logic.
    """
    found = dict(shared(network, target))
    lacking = sum(multipliers(network.layer(name), each) for name, each in found.items()) - available

    def saved(name: str) -> int:
        return multipliers(network.layer(name), found[name])

    def price(name: str) -> float:
        return (adders[name].tables - adding(network.layer(name), found[name])) / saved(name)

    for name in sorted(adders, key=price):
        if lacking <= 0 and price(name) > 0:
            break
        lacking -= saved(name)
        found[name] = Strategy(1, adders[name])
    return found


def multipliers(layer: Layer, strategy: Strategy) -> int:
    """How many a layer has."""
    if strategy.adders:
        return 0
    if layer.kind == "dense":
        return -(-layer.products // strategy.reuse)
    return parallel(layer, strategy) * layer.length


def adding(layer: Layer, strategy: Strategy) -> int:
    """Logic tables that add products up."""
    if strategy.adders:
        return strategy.adders.tables
    return multipliers(layer, strategy) * (layer.sums.bits if layer.sums else 0)


def parallel(layer: Layer, strategy: Strategy) -> int:
    """Results that are computed at the same time."""
    return -(-layer.size // strategy.reuse)


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
