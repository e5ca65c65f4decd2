"""What this CPU can do in one instruction, in LLVM's words.

Importing this module imports numba: do so only once a plan is opened.
"""

from __future__ import annotations

import platform
from dataclasses import dataclass
from functools import cache

import llvmlite.binding

from millstream_runtime.backends.numba.dots import (
    ARM_DOTPROD,
    AVX2,
    AVX512,
    AVX512_VNNI,
    AVX_VNNI,
    PLAIN,
    SSE2,
    DotProduct,
)
from millstream_runtime.kernels.assembler import Machine

#: The feature that each form of dot product needs; the first that a CPU has is the fastest for it.
_DOTS = {
    "avx512vnni": AVX512_VNNI,
    "avxvnni": AVX_VNNI,
    "avx512bw": AVX512,
    "avx2": AVX2,
    "sse2": SSE2,
    "dotprod": ARM_DOTPROD,
}
#: Lanes of float32 in a register, and rows of blocks that all registers hold.
_VECTORS = {"avx512f": (16, 4), "avx": (8, 2)}
_LEAST = (4, 2)
#: Architectures whose every CPU multiplies and adds at once, so that none lists it as a feature.
_ALWAYS_FUSE = ("aarch64", "arm64", "ppc64le", "s390x")


@dataclass(frozen=True)
class Cpu:
    """What decides on the form of a kernel, the dot product, and whether a product is added in one
    instruction."""

    machine: Machine
    dot: DotProduct
    fuses: bool


@cache
def this_cpu() -> Cpu:
    """The best that this CPU has."""
    features = llvmlite.binding.get_host_cpu_features()
    dot = next((dot for name, dot in _DOTS.items() if features.get(name)), PLAIN)
    lanes, rows = next((vectors for name, vectors in _VECTORS.items() if features.get(name)), _LEAST)
    fuses = features.get("fma", platform.machine().lower() in _ALWAYS_FUSE)
    return Cpu(Machine(lanes, rows, dot.lanes, dot.parts), dot, fuses)
