"""Machines that the examples in C are compiled for and run on: this host, and others through QEMU or Node."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from millstream.targets.emulation.machines import PACKAGES

EXAMPLES = Path(__file__).parents[2] / "examples"
STRICT = ("-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-Wconversion", "-Wdouble-promotion", "-pedantic")

#: Debian's packages of each tool.
_PACKAGES = {
    **PACKAGES,
    "gcc": ("gcc", "libc6-dev"),
    "make": ("make",),
    "nm": ("binutils",),
}


@dataclass(frozen=True)
class Sources:
    """The extracted files of one model, sources or a kernel in C, and the prefix of its names."""

    folder: Path
    prefix: str


#: Compiles the example program with a step, runs it over standard input and gives its standard output.
Machine = Callable[[Sources, bytes], bytes]


def tool(name: str) -> str:
    """The tool's path; the test fails, and is not skipped, where it lacks."""
    found = shutil.which(name)
    if found is None:
        # What reads objects comes in one package for each machine.
        packages = _PACKAGES.get(name, (f"binutils-{name.rpartition('-')[0]}",))
        pytest.fail(f"{name} is not installed; to fix: apt install {' '.join(packages)}")
    return found


def call(*command: str | Path, given: bytes = b"") -> bytes:
    """Standard output of a command that must succeed."""
    done = subprocess.run([str(part) for part in command], input=given, capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def host(sources: Sources, frames: bytes) -> bytes:
    """On this machine, with memory and undefined behaviour watched."""
    watched = ("-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    return call(_build(sources, "gcc", *watched), given=frames)


def aarch64(sources: Sources, frames: bytes) -> bytes:
    program = _build(sources, "aarch64-linux-gnu-gcc", "-static")
    return call(tool("qemu-aarch64-static"), program, given=frames)


def armv7(sources: Sources, frames: bytes) -> bytes:
    program = _build(sources, "arm-linux-gnueabihf-gcc", "-static")
    return call(tool("qemu-arm-static"), program, given=frames)


def riscv64(sources: Sources, frames: bytes) -> bytes:
    program = _build(sources, "riscv64-linux-gnu-gcc", "-static")
    return call(tool("qemu-riscv64-static"), program, given=frames)


def cortex_m4(sources: Sources, frames: bytes) -> bytes:
    return call(*firmware_command(sources, "cortex-m4", "run"), given=frames)


def cortex_m7(sources: Sources, frames: bytes) -> bytes:
    return call(*firmware_command(sources, "cortex-m7", "run"), given=frames)


def node(sources: Sources, frames: bytes) -> bytes:
    return call(tool("node"), EXAMPLES / "wasm/run.mjs", sources.folder, given=frames)


def firmware_command(sources: Sources, cpu: str, goal: str) -> list[str]:
    """`make` as the Makefile of the example firmware explains it."""
    for name in ("arm-none-eabi-gcc", "qemu-system-arm"):
        tool(name)
    settings = {
        "MODEL": sources.prefix,
        "STEP": sources.folder,
        "CPU": cpu,
        "FIRMWARE": sources.folder / f"{cpu}.elf",
    }
    given = [f"{name}={value}" for name, value in settings.items()]
    return [tool("make"), "-s", "-f", os.fspath(EXAMPLES / "cortex_m/Makefile"), *given, goal]


MACHINES: dict[str, Machine] = {
    "host": host,
    "aarch64": aarch64,
    "riscv64": riscv64,
    "cortex-m4": cortex_m4,
    "cortex-m7": cortex_m7,
}
#: By the target whose kernel they take.
KERNELS: dict[str, Machine] = {
    "android-arm64": aarch64,
    "armv7-linux": armv7,
    "riscv64-linux": riscv64,
    "cortex-m4": cortex_m4,
    "cortex-m7": cortex_m7,
    "wasm32": node,
}


def _build(sources: Sources, compiler: str, *options: str) -> Path:
    """The example program with the step."""
    program = sources.folder / f"run-{compiler}"
    step = [sources.folder / name for name in ("step.c", "weights.c", "weights.S", "kernel.o")]
    files = (EXAMPLES / "c/main.c", *(path for path in step if path.exists()))
    naming = (f"-DMODEL={sources.prefix}", f"-I{sources.folder}")
    call(tool(compiler), *STRICT, *options, *naming, *files, "-lm", "-o", program)
    return program
