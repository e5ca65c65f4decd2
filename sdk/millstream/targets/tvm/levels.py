"""Classes of CPUs that the step is compiled for, by what they can do in one instruction."""

from __future__ import annotations

from dataclasses import dataclass

from millstream_runtime.spec import Machine


@dataclass(frozen=True)
class Level:
    """A class of CPUs: LLVM's name, float32 lanes of a vector register, and the features it needs, in the
    words of `millstream_runtime.machine`."""

    mcpu: str
    lanes: int
    features: tuple[str, ...]


_V2 = ("cx16", "popcnt", "sse4_1", "sse4_2", "ssse3")
_V3 = (*_V2, "abm", "avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "movbe")
_V4 = (*_V3, "avx512bw", "avx512cd", "avx512dq", "avx512f", "avx512vl")
#: The levels of the x86-64 psABI, best first. Four lanes are in every 64-bit CPU.
X86_64 = (Level("x86-64-v4", 16, _V4), Level("x86-64-v3", 8, _V3), Level("x86-64-v2", 4, _V2))
ANY = Level("generic", 4, ())


def best(here: Machine) -> Level:
    """The best level that this CPU has."""
    levels = X86_64 if here.arch == "x86_64" else ()
    return next((level for level in levels if set(level.features) <= set(here.features)), ANY)
