"""The C sources of a bundle, compiled for each kind of machine and run there, give the golden numbers."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
from c_machines import EXAMPLES, MACHINES, STRICT, Sources, call, firmware_command, host, tool
from small_models import STREAMING, ConvNet, DelayLine, frames, seeded

import millstream
import millstream_runtime
from millstream.datasets import japanese_vowels
from millstream.loading import load
from millstream.sequences import Sequences
from millstream_runtime.bundle import Bundle

SMALL = {make.__name__: make for make in (*STREAMING, ConvNet)}
MODELS = ("lmuformer_jv", *SMALL)


def _golden_check() -> ModuleType:
    """The example script that feeds a program and checks what it gives back."""
    spec = importlib.util.spec_from_file_location("golden_check", EXAMPLES / "c/golden.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


GOLDEN = _golden_check()


@pytest.fixture(scope="module", params=MODELS)
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return _exported(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def delay_line(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return _exported(DelayLine.__name__, tmp_path_factory.mktemp("delay"))


def _exported(name: str, folder: Path) -> Bundle:
    """A bundle with the sources, extracted beside it."""
    if name in SMALL:
        module, make = seeded(SMALL[name]).eval(), SMALL[name]
        example = frames(make, 6) if make is ConvNet else frames(make, 2, 21)
    else:
        module, example = load(name, "").module, Sequences(japanese_vowels.train().frames[:4])
    path = folder / "model.mill"
    millstream.export(module, example, "c", about=millstream.About(name=name)).save(path)
    read = millstream_runtime.read(path)
    for file, data in read.files(_target(read)).items():
        (folder / file).write_bytes(data)
    return read


def _target(bundle: Bundle) -> millstream_runtime.spec.TargetSpec:
    return next(target for target in bundle.manifest.targets if target.name == "c")


def _sources(bundle: Bundle) -> Sources:
    return Sources(Path(bundle.path).parent, bundle.manifest.model.name.lower())


@pytest.mark.parametrize("machine", MACHINES)
def test_golden_frames_give_golden_numbers(bundle: Bundle, machine: str) -> None:
    results = MACHINES[machine](_sources(bundle), GOLDEN.frames(bundle))
    wrong = [difference for difference in GOLDEN.differences(bundle, results) if not difference.within]
    assert wrong == []


def test_the_check_sees_a_wrong_number(delay_line: Bundle) -> None:
    results = bytearray(host(_sources(delay_line), GOLDEN.frames(delay_line)))
    results[2] ^= 255
    assert not all(difference.within for difference in GOLDEN.differences(delay_line, bytes(results)))


@pytest.mark.parametrize(
    "compiler", ["gcc", "aarch64-linux-gnu-gcc", "riscv64-linux-gnu-gcc", "arm-none-eabi-gcc"]
)
def test_the_sources_stand_alone_and_hold_nothing_that_changes(bundle: Bundle, compiler: str) -> None:
    folder = _sources(bundle).folder
    for name in ("step", "weights"):
        call(tool(compiler), *STRICT, "-Wshadow", "-c", folder / f"{name}.c", "-o", folder / f"{name}.o")
    symbols = _symbols(folder / "step.o", compiler) | _symbols(folder / "weights.o", compiler)
    assert not [name for name, (kind, _) in symbols.items() if kind in "dDbBC"]
    called = {name for name, (kind, _) in symbols.items() if kind == "U" and "_weights_" not in name}
    assert not called & {"malloc", "free", "calloc", "printf"}


def _symbols(path: Path, compiler: str) -> dict[str, tuple[str, int]]:
    """Kind and size in bytes of every symbol."""
    text = call(tool(compiler.replace("gcc", "nm") if "-" in compiler else "nm"), "-P", path).decode()
    fields = (line.split() for line in text.splitlines())
    return {name: (kind, int(rest[1], 16) if len(rest) > 1 else 0) for name, kind, *rest in fields}


def test_the_memory_that_was_promised_is_the_memory_that_is_used(bundle: Bundle) -> None:
    sources, memory = _sources(bundle), _target(bundle).memory
    call(*firmware_command(sources, "cortex-m7", "size"))
    symbols = _symbols(sources.folder / "cortex-m7.elf", "arm-none-eabi-gcc")
    weights = sum(size for name, (_, size) in symbols.items() if name.startswith(f"{sources.prefix}_weights"))
    initial = sum(
        size for name, (_, size) in symbols.items() if name.startswith(f"{sources.prefix}_initial_")
    )
    initial -= symbols[f"{sources.prefix}_initial_state"][1]
    assert weights + initial == memory.weights
    # C has no empty struct: what the model has none of takes one byte.
    assert symbols["state"][1] == max(2 * memory.state, 2)
    assert symbols["scratch"][1] == max(memory.scratch, 1)
