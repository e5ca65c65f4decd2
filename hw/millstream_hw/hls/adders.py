"""What a product takes when da4ml makes adders of it, told before hls4ml asks da4ml for the same."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from da4ml.cmvm import solver_options_t
from da4ml.trace import FixedVariableArray, HWConfig, comb_trace

from millstream_hw.hls.fixed import Fixed
from millstream_hw.hls.layers import Layer, Network
from millstream_hw.hls.strategy import Adders

#: Sharing adders among 1,024 constants of 16 bits takes da4ml three seconds, among twice as many twelve.
MOST_CONSTANTS = 1024
#: da4ml looks no further than that for the last bit of a constant.
_MOST_FRACTION = 32
#: As hls4ml calls da4ml: a table for each bit of an adder, an adder of any width is one level, and there are
#: at most two levels more than the fewest.
_HARDWARE = HWConfig(1, -1, -1)
_SOLVER: solver_options_t = {"hard_dc": 2, "search_all_decompose_dc": True}


def adders(network: Network) -> Mapping[str, Adders]:
    """The adders of every layer that may be made of them, by name: products of one row and few constants."""
    return {
        layer.name: _adders(layer, network.layer(layer.inputs[0]).result)
        for layer in network.layers
        if layer.kind == "dense"
        and layer.products <= MOST_CONSTANTS
        and layer.weights["weight"].type.fraction <= _MOST_FRACTION
    }


def _adders(layer: Layer, operand: Fixed) -> Adders:
    sign, whole, fraction = (
        np.full(layer.length, bits) for bits in (operand.signed, operand.bits - operand.signed, 0)
    )
    x = FixedVariableArray.from_kif(sign, whole, fraction, _HARDWARE, solver_options=_SOLVER)
    weight, bias = (layer.weights[name].real for name in ("weight", "bias"))
    logic = comb_trace(x, x @ weight + bias)
    return Adders(round(logic.cost), round(max(logic.out_latency)))
