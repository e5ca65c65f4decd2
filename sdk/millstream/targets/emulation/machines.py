"""The machines that are not this host: a compiler for each, and the emulator that runs what it makes here."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

#: Debian's packages of each tool.
PACKAGES = {
    "aarch64-linux-gnu-gcc": ("gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross"),
    "arm-linux-gnueabihf-gcc": ("gcc-arm-linux-gnueabihf", "libc6-dev-armhf-cross"),
    "riscv64-linux-gnu-gcc": ("gcc-riscv64-linux-gnu", "libc6-dev-riscv64-cross"),
    "x86_64-linux-gnu-gcc": ("gcc-x86-64-linux-gnu", "libc6-dev-amd64-cross"),
    "arm-none-eabi-gcc": ("gcc-arm-none-eabi", "libnewlib-arm-none-eabi"),
    "clang": ("clang",),
    "wasm-ld": ("lld",),
    "node": ("nodejs",),
    "qemu-aarch64-static": ("qemu-user-static",),
    "qemu-arm-static": ("qemu-user-static",),
    "qemu-riscv64-static": ("qemu-user-static",),
    "qemu-x86_64-static": ("qemu-user-static",),
    "qemu-system-arm": ("qemu-system-arm",),
}

_HERE = Path(__file__).parent
_C = ("-std=c11", "-O2", "-Wall", "-Wextra", "-Werror")


class EmulatedMachine(Protocol):
    """What compiling for a machine and proving there takes. Commands run in a folder with the files."""

    @property
    def tools(self) -> tuple[str, ...]:
        """The programs that it takes."""
        ...

    def joining(self, symbol: str) -> tuple[str, ...]:
        """The command that makes one object of several, with nothing but what `symbol` needs."""
        ...

    def build(self, prefix: str) -> list[str]:
        """The command that builds the proving program around the kernel of a model whose names begin with
        `prefix`; empty where there is nothing to build."""
        ...

    @property
    def run(self) -> list[str]:
        """The command that runs the proving program."""
        ...


@dataclass(frozen=True)
class Linux:
    """A Linux of another architecture, whose programs QEMU runs one by one."""

    architecture: str
    emulator: str

    @property
    def compiler(self) -> str:
        return f"{self.architecture}-gcc"

    @property
    def tools(self) -> tuple[str, ...]:
        return (self.compiler, self.emulator)

    def joining(self, symbol: str) -> tuple[str, ...]:
        return _joining(self.compiler, symbol)

    def build(self, prefix: str) -> list[str]:
        return [self.compiler, *_C, "-static", *_sources(prefix)]

    def build_library(self) -> list[str]:
        """The command that builds the proving program for a library that it loads."""
        return [self.compiler, *_C, str(_HERE / "prove_library.c"), "-ldl", "-o", "prove"]

    @property
    def run(self) -> list[str]:
        # The C library lies where the cross compiler has it.
        return [self.emulator, "-L", f"/usr/{self.architecture}", "./prove"]


@dataclass(frozen=True)
class CortexM:
    """A microcontroller on one of QEMU's boards; semihosting carries standard input and output."""

    cpu: str
    board: str

    @property
    def tools(self) -> tuple[str, ...]:
        return ("arm-none-eabi-gcc", "qemu-system-arm")

    def joining(self, symbol: str) -> tuple[str, ...]:
        return (*_joining("arm-none-eabi-gcc", symbol), f"-T{_HERE / 'kernel.ld'}")

    def build(self, prefix: str) -> list[str]:
        processor = (f"-mcpu={self.cpu}", "-mthumb", "-mfloat-abi=hard")
        library = ("--specs=nano.specs", "--specs=rdimon.specs", "-Wl,--gc-sections")
        board = (f"-T{_HERE / 'cortex_m.ld'}", str(_HERE / "cortex_m.c"))
        return ["arm-none-eabi-gcc", *_C, *processor, *library, *board, *_sources(prefix)]

    @property
    def run(self) -> list[str]:
        quiet = ("-display", "none", "-monitor", "none", "-serial", "none")
        semihosting = ("-semihosting-config", "enable=on,target=native")
        return ["qemu-system-arm", "-machine", self.board, *quiet, *semihosting, "-kernel", "prove"]


@dataclass(frozen=True)
class WebAssembly:
    """Node, which runs the module as it is shipped."""

    @property
    def tools(self) -> tuple[str, ...]:
        return ("clang", "wasm-ld", "node")

    def joining(self, symbol: str) -> tuple[str, ...]:
        return ("wasm-ld", "-r", "--strip-debug")

    def build(self, prefix: str) -> list[str]:
        return []

    @property
    def run(self) -> list[str]:
        return ["node", str(_HERE / "prove_kernel.mjs")]


#: By the architecture, as Linux calls it.
LINUX: Mapping[str, Linux] = {
    "aarch64": Linux("aarch64-linux-gnu", "qemu-aarch64-static"),
    "armv7l": Linux("arm-linux-gnueabihf", "qemu-arm-static"),
    "riscv64": Linux("riscv64-linux-gnu", "qemu-riscv64-static"),
    "x86_64": Linux("x86_64-linux-gnu", "qemu-x86_64-static"),
}
#: By the target, those without Python. Android's code calls nothing of its system, so that it runs on any.
MACHINES: Mapping[str, EmulatedMachine] = {
    "android-arm64": LINUX["aarch64"],
    "armv7-linux": LINUX["armv7l"],
    "riscv64-linux": LINUX["riscv64"],
    "cortex-m4": CortexM("cortex-m4", "mps2-an386"),
    "cortex-m7": CortexM("cortex-m7", "mps2-an500"),
    "wasm32": WebAssembly(),
    "wasm32-plain": WebAssembly(),
}


def missing(machine: EmulatedMachine) -> tuple[str, ...]:
    """The line that installs what compiling for the machine and proving there lacks here, if anything."""
    packages = [package for tool in machine.tools if not shutil.which(tool) for package in PACKAGES[tool]]
    return (f"apt install {' '.join(dict.fromkeys(packages))}",) if packages else ()


def _joining(compiler: str, symbol: str) -> tuple[str, ...]:
    return (compiler, "-r", "-nostdlib", f"-Wl,--gc-sections,-e,{symbol},-S")


def _sources(prefix: str) -> tuple[str, ...]:
    """The proving program, the step, and where its names come from."""
    naming, step = (f"-DMODEL={prefix}", "-I."), ("step.c", "weights.S", "kernel.o")
    return (*naming, str(_HERE / "prove_kernel.c"), *step, "-lm", "-o", "prove")
