"""Classes of machines that a step is compiled for: how LLVM calls them, and what they can do at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from millstream.targets.tvm.dots import (
    ARM_DOTPROD,
    AVX2,
    AVX512,
    AVX512_VNNI,
    AVX_VNNI,
    PLAIN,
    SSE2,
    DotProduct,
)
from millstream_runtime import machine
from millstream_runtime.spec import Machine


@dataclass(frozen=True)
class Level:
    """A class of machines.

    `triple`, `mcpu` and `attributes` are LLVM's names (an empty triple: that of this host), `abi` keys of
    TVM's target for the calling convention. `lanes` float32 fill one vector register; one lane asks for plain
    serial loops, which keep code small. `rows` products with the same weights are computed at once, as many
    as the registers hold. `machine` is what the code needs, in the words of `millstream_runtime.machine`.
    `rounds` is false where no instruction rounds a float32 to a whole number, `fuses` true where one
    multiplies and adds.
    """

    triple: str
    mcpu: str
    lanes: int
    rows: int
    machine: Machine
    dot: DotProduct
    attributes: tuple[str, ...] = ()
    abi: tuple[tuple[str, str], ...] = ()
    pointer_bits: int = 64
    rounds: bool = True
    fuses: bool = False


_V2 = ("cx16", "popcnt", "sse4_1", "sse4_2", "ssse3")
_V3 = (*_V2, "abm", "avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "movbe")
_V4 = (*_V3, "avx512bw", "avx512cd", "avx512dq", "avx512f", "avx512vl")


def _x86_64(
    mcpu: str, lanes: int, rows: int, features: tuple[str, ...], dot: DotProduct, *attributes: str
) -> Level:
    needed = Machine("linux", "x86_64", features)
    fuses = "fma" in features
    return Level("x86_64-unknown-linux-gnu", mcpu, lanes, rows, needed, dot, attributes, fuses=fuses)


def _aarch64(triple: str, needed: Machine, dot: DotProduct, *attributes: str) -> Level:
    return Level(triple, "generic", 4, 2, needed, dot, ("+neon", *attributes), fuses=True)


def _cortex_m(mcpu: str, rounds: bool) -> Level:
    """Single precision alone: some Cortex-M7 have no more."""
    return Level(
        "thumbv7em-unknown-none-eabihf",
        mcpu,
        lanes=1,
        rows=1,
        machine=Machine("", mcpu),
        dot=PLAIN,
        attributes=("-fp64",),
        abi=(("mfloat-abi", "hard"),),
        pointer_bits=32,
        rounds=rounds,
    )


def _wasm32(lanes: int, rows: int, *attributes: str) -> Level:
    return Level(
        "wasm32-unknown-unknown",
        "mvp",
        lanes=lanes,
        rows=rows,
        machine=Machine("", "wasm32"),
        dot=PLAIN,
        attributes=(*attributes, "+bulk-memory", "+sign-ext", "+nontrapping-fptoint"),
        pointer_bits=32,
    )


#: By the name of the target.
LEVELS: Mapping[str, Level] = {
    # The levels of the x86-64 psABI.
    "x86-64-v2": _x86_64("x86-64-v2", 4, 2, _V2, SSE2),
    "x86-64-v3": _x86_64("x86-64-v3", 8, 2, _V3, AVX2),
    "x86-64-v4": _x86_64("x86-64-v4", 16, 4, _V4, AVX512),
    "aarch64-linux": _aarch64("aarch64-unknown-linux-gnu", Machine("linux", "aarch64"), PLAIN),
    "aarch64-linux-dotprod": _aarch64(
        "aarch64-unknown-linux-gnu", Machine("linux", "aarch64", ("asimddp",)), ARM_DOTPROD, "+dotprod"
    ),
    # Not the same as Linux: Android keeps a register to itself.
    "android-arm64": _aarch64("aarch64-unknown-linux-android", Machine("android", "aarch64"), PLAIN),
    "armv7-linux": Level(
        "armv7a-unknown-linux-gnueabihf",
        "generic",
        lanes=4,
        rows=2,
        machine=Machine("linux", "armv7l"),
        dot=PLAIN,
        attributes=("+neon",),
        abi=(("mfloat-abi", "hard"),),
        pointer_bits=32,
        rounds=False,
    ),
    "riscv64-linux": Level(
        "riscv64-unknown-linux-gnu",
        "generic-rv64",
        lanes=4,
        rows=1,
        machine=Machine("linux", "riscv64"),
        dot=PLAIN,
        attributes=("+m", "+a", "+f", "+d", "+c"),
        abi=(("mabi", "lp64d"),),
        rounds=False,
    ),
    "cortex-m4": _cortex_m("cortex-m4", rounds=False),
    "cortex-m7": _cortex_m("cortex-m7", rounds=True),
    "wasm32": _wasm32(4, 2, "+simd128"),
    "wasm32-plain": _wasm32(1, 1),
}
#: What a host may be, best first: the levels of its architecture, with dot products where it has them.
HOSTS = (
    _x86_64("x86-64-v4", 16, 4, (*_V4, "avx512_vnni"), AVX512_VNNI, "+avx512vnni"),
    LEVELS["x86-64-v4"],
    _x86_64("x86-64-v3", 8, 2, (*_V3, "avx_vnni"), AVX_VNNI, "+avxvnni"),
    LEVELS["x86-64-v3"],
    LEVELS["x86-64-v2"],
    LEVELS["aarch64-linux-dotprod"],
    LEVELS["aarch64-linux"],
)
#: Four lanes are in every 64-bit CPU.
ANY = Level("", "generic", 4, 2, Machine(), PLAIN)


def level_of(target: str) -> Level:
    """The level of a target; that of `cpu` is the best of this host."""
    return best(machine.here()) if target == "cpu" else LEVELS[target]


def best(here: Machine) -> Level:
    """The best level that this machine has, under its own system."""
    for level in HOSTS:
        wanted = level.machine
        if wanted.arch == here.arch and set(wanted.features) <= set(here.features):
            return replace(level, triple="", machine=replace(wanted, system=here.system))
    return replace(ANY, machine=Machine(here.system, here.arch))
