"""The C sources of a bundle, compiled for each kind of machine and run there, give the golden numbers."""

from __future__ import annotations

import pytest
from c_machines import MACHINES, STRICT, call, firmware_command, host, tool
from exported_models import GOLDEN, sources_of, symbols, target_of

from millstream_runtime.bundle import Bundle


@pytest.mark.parametrize("machine", MACHINES)
def test_golden_frames_give_golden_numbers(bundle: Bundle, machine: str) -> None:
    results = MACHINES[machine](sources_of(bundle, "c"), GOLDEN.frames(bundle))
    wrong = [difference for difference in GOLDEN.differences(bundle, results, "c") if not difference.within]
    assert wrong == []


@pytest.mark.parametrize("bundle", ["DelayLine"], indirect=True)
def test_the_check_sees_a_wrong_number(bundle: Bundle) -> None:
    results = bytearray(host(sources_of(bundle, "c"), GOLDEN.frames(bundle)))
    results[2] ^= 255
    assert not all(difference.within for difference in GOLDEN.differences(bundle, bytes(results), "c"))


@pytest.mark.parametrize(
    "compiler", ["gcc", "aarch64-linux-gnu-gcc", "riscv64-linux-gnu-gcc", "arm-none-eabi-gcc"]
)
def test_the_sources_stand_alone_and_hold_nothing_that_changes(bundle: Bundle, compiler: str) -> None:
    folder, nm = sources_of(bundle, "c").folder, compiler.replace("gcc", "nm")
    for name in ("step", "weights"):
        call(tool(compiler), *STRICT, "-Wshadow", "-c", folder / f"{name}.c", "-o", folder / f"{name}.o")
    found = symbols(folder / "step.o", nm) | symbols(folder / "weights.o", nm)
    assert not [name for name, (kind, _) in found.items() if kind in "dDbBC"]
    called = {name for name, (kind, _) in found.items() if kind == "U" and "_weights_" not in name}
    assert not called & {"malloc", "free", "calloc", "printf"}


def test_the_memory_that_was_promised_is_the_memory_that_is_used(bundle: Bundle) -> None:
    sources, memory = sources_of(bundle, "c"), target_of(bundle, "c").memory
    call(*firmware_command(sources, "cortex-m7", "size"))
    found = symbols(sources.folder / "cortex-m7.elf", "arm-none-eabi-nm")
    weights = sum(size for name, (_, size) in found.items() if name.startswith(f"{sources.prefix}_weights"))
    initial = sum(size for name, (_, size) in found.items() if name.startswith(f"{sources.prefix}_initial_"))
    initial -= found[f"{sources.prefix}_initial_state"][1]
    assert weights + initial == memory.weights
    # C has no empty struct: what the model has none of takes one byte.
    assert found["state"][1] == max(2 * memory.state, 2)
    assert found["scratch"][1] == max(memory.scratch, 1)
