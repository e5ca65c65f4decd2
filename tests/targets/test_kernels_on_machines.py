"""What TVM compiles for other machines, run there through the examples, gives the golden numbers."""

from __future__ import annotations

import pytest
from c_machines import KERNELS, call, firmware_command, tool
from exported_models import GOLDEN, sources_of, symbols, target_of
from kernel_programs import LIBRARIES

from millstream.object_files import read_object
from millstream_runtime import strict_json
from millstream_runtime.bundle import Bundle

_DOUBLES = ("__aeabi_d2f", "__aeabi_dadd", "__aeabi_ddiv", "__aeabi_f2d", "__aeabi_l2d")
#: What a compiler brings, and these models ask for: whole numbers of 64 bits and float64 turned into floats,
#: and memory filled with zeros. All other kernels stand alone.
_CALLS = {
    ("lmuformer_jv", "armv7-linux"): ("__aeabi_l2d",),
    ("lmuformer_jv", "cortex-m4"): _DOUBLES,
    ("lmuformer_jv", "cortex-m7"): _DOUBLES,
    **{("RunningMean", name): ("__aeabi_l2f",) for name in ("armv7-linux", "cortex-m4", "cortex-m7")},
    ("ConvNet", "riscv64-linux"): ("memset",),
    **{("ConvNet", name): ("__aeabi_memclr4",) for name in ("cortex-m4", "cortex-m7")},
}
#: The prefix of the tools that read an object of each.
_BINUTILS = {
    "android-arm64": "aarch64-linux-gnu",
    "armv7-linux": "arm-linux-gnueabihf",
    "riscv64-linux": "riscv64-linux-gnu",
    "cortex-m4": "arm-none-eabi",
    "cortex-m7": "arm-none-eabi",
}


@pytest.mark.parametrize("target", KERNELS)
def test_golden_frames_give_golden_numbers(bundle: Bundle, target: str) -> None:
    results = KERNELS[target](sources_of(bundle, target), GOLDEN.frames(bundle))
    found = GOLDEN.differences(bundle, results, target)
    assert [difference for difference in found if not difference.within] == []


def test_the_export_proved_every_target(bundle: Bundle) -> None:
    passed = {
        rung["claim"] for rung in strict_json.loads(bundle.members["report.json"])["ladder"] if rung["passed"]
    }
    for target in (*KERNELS, *LIBRARIES):
        assert f"step.onnx (reference) = {target}" in passed


@pytest.mark.parametrize("target", KERNELS)
def test_a_kernel_leaves_nothing_to_others_but_what_its_header_says(bundle: Bundle, target: str) -> None:
    folder, name = sources_of(bundle, target).folder, bundle.manifest.model.name
    calls = read_object((folder / "kernel.o").read_bytes()).calls
    assert calls == _CALLS.get((name, target), ())
    assert all(call in (folder / "step.h").read_text() for call in calls)


@pytest.mark.parametrize("target", _BINUTILS)
def test_an_object_is_read_as_its_own_tools_read_it(bundle: Bundle, target: str) -> None:
    sources = sources_of(bundle, target)
    path = sources.folder / "kernel.o"
    found, read = symbols(path, f"{_BINUTILS[target]}-nm"), read_object(path.read_bytes())
    assert {name for name, (kind, _) in found.items() if kind == "U"} == set(read.calls)
    # One function for the linker, and nothing that keeps a value between two calls.
    assert [name for name, (kind, _) in found.items() if kind.isupper() and kind != "U"] == [
        f"{sources.prefix}_kernel"
    ]
    assert not [name for name, (kind, _) in found.items() if kind in "dDbBC"]
    text, data, bss, *_ = call(tool(f"{_BINUTILS[target]}-size"), path).decode().splitlines()[1].split()
    assert (read.code, 0, 0) == (int(text), int(data), int(bss))


@pytest.mark.parametrize("target", ["cortex-m4", "cortex-m7"])
def test_the_memory_that_was_promised_is_the_memory_that_is_used(bundle: Bundle, target: str) -> None:
    sources, memory = sources_of(bundle, target), target_of(bundle, target).memory
    call(*firmware_command(sources, target, "size"))
    found = symbols(sources.folder / f"{target}.elf", "arm-none-eabi-nm")
    tables = [name for name in found if name.startswith(f"{sources.prefix}_initial_")]
    initial = sum(found[name][1] for name in tables if name != f"{sources.prefix}_initial_state")
    assert found[f"{sources.prefix}_weights"][1] + initial == memory.weights
    # C has no empty struct: what the model has none of takes one byte.
    assert found["state"][1] == max(2 * memory.state, 2)
    assert found["scratch"][1] == max(memory.scratch, 1)
