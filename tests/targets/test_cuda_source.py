"""NVIDIA's compiler takes the kernels of every dtype; what stands before them does what TVM counts on."""

from __future__ import annotations

import ctypes
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from quantized_graphs import quantized_graph, recurrent_graph

from millstream.graph import StepGraph
from millstream.lower import lower
from millstream.quantize import FORMATS
from millstream.quantize.states.storages import STORAGES
from millstream.quantize.states.writing import narrowed
from millstream.targets.cuda import SHARED_BYTES
from millstream.targets.gpu.build import compiled, cubin, cuda_source, without_prelude
from millstream.targets.gpu.compiling import Choice, kernels
from millstream.targets.gpu.forms import Tile

ARCH = "sm_90"
#: A whole step, and one that is cut up.
CHOICES = (Choice(1, (Tile(8, 128),)), Choice(64, (Tile(8, 128), Tile(1, 128))))


def _graph() -> StepGraph:
    """Sizes of whole vectors, of which a thread reads and writes four elements at once."""
    return recurrent_graph(width=40, hidden=64, outputs=32)


STEPS: dict[str, Callable[[], StepGraph]] = {
    **{
        name: lambda format=format: quantized_graph(_graph(), format)
        for name, format in FORMATS.items()
        if not format.whole
    },
    **{
        f"states in {storage.dtype}": lambda storage=storage: narrowed(_graph(), {"state": storage})
        for storage in STORAGES
    },
}


@pytest.mark.parametrize("name", STEPS)
def test_kernels_compile(name: str) -> None:
    lowered = lower(STEPS[name]())
    made = kernels(lowered.program, lowered.weights, CHOICES, 64 << 10)
    assert cubin(without_prelude(cuda_source(made.functions, ARCH)), ARCH)[:4] == b"\x7fELF"


@pytest.mark.parametrize("tiles", [(Tile(32, 128),), (Tile(16, 128), Tile(1, 128))])
def test_whole_vectors_are_stored_at_once(tiles: tuple[Tile, ...]) -> None:
    """What stands in C++ as four elements, the compiler stores one by one where it likes."""
    lowered = lower(recurrent_graph(128, 128, 128))
    made = kernels(lowered.program, lowered.weights, [Choice(1, tiles)], SHARED_BYTES[ARCH])
    source = cuda_source(made.functions, ARCH)
    assert "__stwb((float4*)(at_" in source
    assert not re.search(r"\*\(float4\*\)\(at_.*\) = ", source)


@pytest.mark.parametrize("arch", ["sm_75", "sm_90"])
def test_four_products_of_int8_are_one_instruction(arch: str) -> None:
    lowered = lower(quantized_graph(recurrent_graph(128, 128, 128), FORMATS["w8a8"]))
    made = kernels(lowered.program, lowered.weights, CHOICES, 64 << 10)
    source = without_prelude(cuda_source(made.functions, arch))
    prelude, *functions = source.split('extern "C"')
    kinds = [re.findall(r"\b(whole|part)\d*_\d+_\d+\(", text) for text in functions if "dp4a(" in text]
    # Of the whole step, and of the products that are kernels of their own.
    assert ["whole"] in kinds
    assert ["part"] in kinds
    assert "#define dp4a __dp4a\n" in prelude
    assert cubin(source, arch)[:4] == b"\x7fELF"


def test_a_log_of_nothing_leaves_the_bytes_of_this_process_alone() -> None:
    _, told = compiled('extern "C" __global__ void nothing() {}', ARCH)
    assert told == ""
    assert bytes([32])[0] == 32


def test_four_bytes_lie_in_the_order_of_their_lanes(tmp_path: Path) -> None:
    """The same functions, for the host."""
    own = without_prelude('extern "C" ')
    source = tmp_path / "made.cpp"
    bodies = own[own.index("__device__") : own.index('extern "C"')].replace("__device__ inline", 'extern "C"')
    names = "typedef unsigned int uint;\ntypedef unsigned char uchar;\n"
    source.write_text(names + bodies)
    library = tmp_path / "made.so"
    subprocess.run(["g++", "-shared", "-fPIC", "-o", library, source], check=True)
    loaded = ctypes.CDLL(str(library))
    for lanes in ([1, 2, 3, 4], [-1, 0, -128, 127], [127, -2, 5, -3]):
        assert np.int32(loaded.make_int(*lanes)) == np.array(lanes, np.int8).view(np.int32)[0]
    lanes = [255, 0, 128, 7]
    assert np.int32(loaded.make_uint(*lanes)) == np.array(lanes, np.uint8).view(np.int32)[0]
