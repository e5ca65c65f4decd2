"""The files of a build by hls4ml: the core, the top around it, and the script that the vendor's tool runs."""

from __future__ import annotations

from collections.abc import Mapping

from millstream_hw.circuit import Circuit
from millstream_hw.hls import convert, top, vitis
from millstream_hw.hls.layers import Network, initial
from millstream_hw.hls.strategy import Strategy


def files(
    circuit: Circuit, network: Network, strategies: Mapping[str, Strategy], device: str, clock_mhz: float
) -> dict[str, bytes]:
    """Everything that simulation and synthesis read, by path below the build."""
    core, types = convert.firmware(network, strategies, device, clock_mhz)
    return {
        **core,
        **top.files(network, types, initial(circuit.states)),
        vitis.SCRIPT: vitis.script(device, clock_mhz).encode(),
    }
