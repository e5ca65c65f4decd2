"""Kernels for Metal as far as they can be tried without an Apple machine.

A compiler reads them as C++, with so much of the language as they use; the same kernels run as OpenCL.
"""

from __future__ import annotations

import ctypes
import json
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from backend_programs import Case, F, cascade, differences, elementwise, expected, operations, pairs, run
from int8_programs import products
from lowered_models import MODELS, lmuformer_jv, lowered_model
from quantized_graphs import quantized_graph, recurrent_graph
from small_models import ConvNet, GatedRecurrence

from millstream.lower import lower
from millstream.quantize import FORMATS
from millstream.targets import metal
from millstream_runtime.backends import Step
from millstream_runtime.program import Program
from millstream_runtime.spec import ModelSpec, TargetSpec

_LANGUAGE = Path(__file__).parent.parent / "support/metal"
_FLAGS = (
    "-x",
    "c++",
    "-std=c++17",
    "-fsyntax-only",
    "-Werror",
    "-Wno-unknown-attributes",
    "-Wno-return-stack-address",
)


def opened(program: Program, weights: bytes) -> Step:
    """Through the files that a bundle would hold."""
    made = metal.compile_program(program, weights)
    target = TargetSpec("metal", "metal", (), made.tolerance, made.memory, made.machine)
    return metal.open(made.files, ModelSpec("test", (), (), ()), target)


def complaints(source: bytes, folder: Path) -> str:
    """What the compiler says about kernels."""
    path = folder / "step.metal"
    path.write_bytes(source)
    command = ["clang++", *_FLAGS, f"-I{_LANGUAGE}", str(path)]
    return subprocess.run(command, capture_output=True, text=True).stderr


def floats() -> Case:
    """Every operation of float32."""
    return elementwise([e for e in operations(F) if e.dtype != "float64"], pairs(F))


@pytest.mark.parametrize(
    "case", [floats(), cascade(24, np.random.default_rng(0), 1)], ids=["operations", "cascade"]
)
def test_a_compiler_reads_the_kernels(case: Case, tmp_path: Path) -> None:
    source = metal.compile_program(case.program, case.weights).files["step.metal"]
    assert complaints(source, tmp_path) == ""
    # So that the compiler is known to look.
    assert "error" in complaints(source.replace(b"threadIdx", b"threadIndex", 1), tmp_path)


@pytest.mark.parametrize("make", [m for m in MODELS if m is not lmuformer_jv], ids=lambda make: make.__name__)
def test_a_compiler_reads_the_kernels_of_models(make: type, tmp_path: Path) -> None:
    lowered = lowered_model(make)
    source = metal.compile_program(lowered.program, lowered.weights).files["step.metal"]
    assert complaints(source, tmp_path) == ""


def test_the_largest_of_many_is_written_once(tmp_path: Path) -> None:
    """Of 128 activations, in 32 parts: not twice as much text for each of them."""
    lowered = lower(quantized_graph(recurrent_graph(128, 128, 128), FORMATS["w8a8"]))
    source = metal.compile_program(lowered.program, lowered.weights).files["step.metal"]
    assert len(source) < 1 << 20
    assert complaints(source, tmp_path) == ""


def test_four_products_of_int8_are_one_function(tmp_path: Path) -> None:
    case = products([(1, 64, 128)], 1)
    source = metal.compile_program(case.program, case.weights).files["step.metal"]
    opening, *functions = source.decode().split("// Function: ")
    assert any("dp4a(" in function for function in functions)
    assert complaints(source, tmp_path) == ""
    called = f'{opening}extern "C" int four(int x, int y, int sum) {{ return dp4a(x, y, sum); }}\n'
    (tmp_path / "four.metal").write_text(called)
    flags = ["-shared", "-fPIC", *(flag for flag in _FLAGS if flag != "-fsyntax-only")]
    library = tmp_path / "four.so"
    subprocess.run(
        ["clang++", *flags, f"-I{_LANGUAGE}", "-o", library, str(tmp_path / "four.metal")], check=True
    )
    four = ctypes.CDLL(str(library)).four
    rng = np.random.default_rng(0)
    for bytes_ in (rng.choice([-128, 127], (8, 2, 4)), rng.integers(-128, 128, (64, 2, 4))):
        for x, y in bytes_.astype(np.int8):
            words = (int(each.view(np.int32)[0]) for each in (x, y))
            assert four(*words, -7) == int(x.astype(int) @ y.astype(int)) - 7


@pytest.mark.parametrize("make", [GatedRecurrence, ConvNet], ids=lambda make: make.__name__)
def test_a_kernel_declares_the_shared_memory_that_its_layout_tells(make: type) -> None:
    lowered = lowered_model(make)
    files = metal.compile_program(lowered.program, lowered.weights).files
    kernels = re.split(r"\nkernel void ", files["step.metal"].decode())[1:]
    declared = {text[: text.index("(")]: _declared(text) for text in kernels}
    layout = json.loads(files["layout.json"])
    launches = [launch for way in layout["ways"] for launch in way["launches"]]
    assert any(launch["shared_bytes"] for launch in launches)
    for launch in launches:
        # An array of floats may leave out what is no whole float at the end.
        assert 0 <= launch["shared_bytes"] - declared[launch["kernel"]] < 4


def _declared(kernel: str) -> int:
    """Bytes of a kernel's arrays in the memory of a threadgroup."""
    found = re.findall(r"threadgroup (float|int|uchar|char) \w+\[(\d+)\];", kernel)
    return sum(int(count) * {"float": 4, "int": 4, "uchar": 1, "char": 1}[kind] for kind, count in found)


def test_the_same_kernels_prove_it() -> None:
    case = cascade(24, np.random.default_rng(0), 5)
    got, want = run(opened, case), expected(case)
    assert differences(case, got[0] + got[1], want[0] + want[1], 1e-5) == []


def test_float64_is_refused() -> None:
    assert metal.wide_buffers(lowered_model(lmuformer_jv).program)
    assert not metal.wide_buffers(lowered_model(MODELS[0]).program)
