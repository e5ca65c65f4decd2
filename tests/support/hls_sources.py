"""The C++ of a circuit in a folder, ready to be compiled."""

from __future__ import annotations

from pathlib import Path

from millstream_hw.circuit import Circuit
from millstream_hw.hls import layers, sharing
from millstream_hw.hls.adders import adders
from millstream_hw.hls.files import files

#: The name that the vendor's tool has for the part xcku5p.
DEVICE = "xcku5p-ffvb676-2-e"


def write(folder: Path, found: Circuit, target: int, available: int | None = None) -> None:
    """Each multiplier is shared by about `target` products; where only so many are `available`, adders take
    the place of some."""
    network = layers.network(found)
    strategies = sharing.shared(network, target)
    if available is not None:
        strategies = sharing.mixed(network, target, adders(network), available)
    made = files(found, network, strategies, DEVICE, 200)
    for name, data in made.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
