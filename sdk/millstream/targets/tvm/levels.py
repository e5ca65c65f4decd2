"""Classes of CPUs that the step is compiled for, by what they can do in one instruction."""

from __future__ import annotations

from dataclasses import dataclass

from millstream.targets.tvm.dots import AVX2, AVX512, AVX512_VNNI, AVX_VNNI, PLAIN, SSE2, DotProduct
from millstream_runtime import spec
from millstream_runtime.kernels.assembler import Machine


@dataclass(frozen=True)
class Level:
    """A class of CPUs: LLVM's name, float32 lanes of a vector register, and the features it needs, in the
    words of `millstream_runtime.machine`; `attributes` are what LLVM must be told beside its name.

    `rows` products with the same weights are computed at once, as many as the registers hold.
    """

    mcpu: str
    lanes: int
    rows: int
    features: tuple[str, ...]
    dot: DotProduct
    attributes: tuple[str, ...] = ()

    @property
    def machine(self) -> Machine:
        """What kernels need to know of it."""
        return Machine(self.lanes, self.rows, self.dot.lanes, self.dot.parts)


_V2 = ("cx16", "popcnt", "sse4_1", "sse4_2", "ssse3")
_V3 = (*_V2, "abm", "avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "movbe")
_V4 = (*_V3, "avx512bw", "avx512cd", "avx512dq", "avx512f", "avx512vl")
_V4_VNNI, _V3_VNNI = (*_V4, "avx512_vnni"), (*_V3, "avx_vnni")
#: The levels of the x86-64 psABI, with and without dot products, best first.
X86_64 = (
    Level("x86-64-v4", 16, 4, _V4_VNNI, AVX512_VNNI, ("+avx512vnni",)),
    Level("x86-64-v4", 16, 4, _V4, AVX512),
    Level("x86-64-v3", 8, 2, _V3_VNNI, AVX_VNNI, ("+avxvnni",)),
    Level("x86-64-v3", 8, 2, _V3, AVX2),
    Level("x86-64-v2", 4, 2, _V2, SSE2),
)
#: Four lanes are in every 64-bit CPU.
ANY = Level("generic", 4, 2, (), PLAIN)


def best(here: spec.Machine) -> Level:
    """The best level that this CPU has."""
    levels = X86_64 if here.arch == "x86_64" else ()
    return next((level for level in levels if set(level.features) <= set(here.features)), ANY)
