"""The program for devices without Python: what it streams, on this machine and on 64-bit ARM in QEMU."""

from __future__ import annotations

import os
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from serve_client import connected, ended
from small_models import CentredAverage, TokenLanguageModel, frames, seeded
from torch import nn

import millstream
from millstream.deploy.executable import print_rows, static_program
from millstream.targets.emulation.machines import LINUX
from millstream_runtime import Bundle, open_target, read
from millstream_runtime.spec import Framing, ModelSpec, TensorSpec


class Level(nn.Module):
    """Mean and largest of a window of 8 samples."""

    def forward(self, x):
        return x.mean(-1), x.amax(-1)


#: A look-ahead, integers, and windows of 8 samples, 4 apart, with two outputs.
CASES = {"look_ahead": CentredAverage, "tokens": TokenLanguageModel, "windows": Level}


@pytest.fixture(scope="module", params=CASES)
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    make = CASES[request.param]
    about = millstream.About(name=request.param, hop=4 if make is Level else None)
    example = np.random.default_rng(0).standard_normal((5, 8)).astype(np.float32)
    module = Level() if make is Level else seeded(make)
    path = tmp_path_factory.mktemp("static") / "model.mill"
    millstream.export(module, example if make is Level else frames(make, 2, 21), "c", about=about).save(path)
    return read(path)


def program(bundle: Bundle, folder: Path, architecture: str = "") -> list[str]:
    architecture = architecture or os.uname().machine
    (target,) = (t for t in bundle.manifest.targets if t.name == "c")
    path = folder / f"step-{architecture}"
    path.write_bytes(static_program(bundle.files(target), bundle.manifest.model, architecture))
    path.chmod(0o755)
    return [str(path)] if architecture == os.uname().machine else [LINUX[architecture].emulator, str(path)]


def rows(bundle: Bundle) -> np.ndarray:
    """An odd number of rows."""
    tensor, framing = bundle.manifest.model.inputs[0], bundle.manifest.model.framing
    shape = (23, *(tensor.shape[1:] if framing else tensor.shape))
    generator = np.random.default_rng(4)
    if tensor.dtype == "int64":
        return generator.integers(0, 17, shape)
    return generator.standard_normal(shape).astype(tensor.dtype)


def want(bundle: Bundle, given: np.ndarray) -> list[Sequence[np.ndarray]]:
    """What a stream of the Python runtime gives, each output as a tuple."""
    (target,) = (t for t in bundle.manifest.targets if t.name == "onnxruntime")
    with open_target(bundle, target).stream() as stream:
        results = [*stream.push(given), *stream.flush()]
    return [result if isinstance(result, tuple) else (result,) for result in results]


def compare(bundle: Bundle, got: bytes, wanted: list[Sequence[np.ndarray]]) -> None:
    tensors = bundle.manifest.model.outputs
    row = np.dtype([(t.name, t.dtype, t.shape) for t in tensors])
    found = np.frombuffer(got, row)
    assert len(found) == len(wanted)
    for place, tensor in enumerate(tensors):
        # Two backends, each within 1e-5 of the reference.
        np.testing.assert_allclose(
            found[tensor.name], np.stack([w[place] for w in wanted]), atol=2e-5, rtol=2e-5
        )


@pytest.mark.parametrize("architecture", ["", "aarch64"])
def test_it_streams_what_the_runtime_streams(bundle: Bundle, tmp_path: Path, architecture: str) -> None:
    given = rows(bundle)
    command = program(bundle, tmp_path, architecture)
    done = subprocess.run(command, input=given.tobytes(), capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
    compare(bundle, done.stdout, want(bundle, given))


def test_an_end_within_a_row_is_told_after_all_whole_ones(bundle: Bundle, tmp_path: Path) -> None:
    given = rows(bundle)
    cut = given.tobytes()[:-1]
    done = subprocess.run(program(bundle, tmp_path), input=cut, capture_output=True)
    assert (done.returncode, b"within a row" in done.stderr) == (2, True)
    compare(bundle, done.stdout, want(bundle, given[:-1]))


def test_results_come_while_the_input_is_open_and_a_socket_takes_it(bundle: Bundle, tmp_path: Path) -> None:
    path = tmp_path / "frames.sock"
    command = [*program(bundle, tmp_path), f"unix:{path}"]
    with ended(subprocess.Popen(command, stdout=subprocess.PIPE)) as process:
        given = rows(bundle)
        with connected(path) as client:
            client.sendall(given[:12].tobytes())
            first = os.read(process.stdout.fileno(), 1)
            client.sendall(given[12:].tobytes())
        compare(bundle, first + process.stdout.read(), want(bundle, given))
        assert process.wait(10) == 0
    assert not path.exists()


def test_it_is_static_and_says_how_it_is_used(bundle: Bundle, tmp_path: Path) -> None:
    (path,) = program(bundle, tmp_path)
    assert _INTERPRETER not in segments(Path(path).read_bytes())
    done = subprocess.run([path, "--loudly"], capture_output=True)
    assert (done.returncode, b"usage" in done.stderr) == (2, True)
    assert subprocess.run([path, f"unix:{'x' * 200}"], capture_output=True).returncode == 2


#: The segment that names the loader of a program which is not static.
_INTERPRETER = 3


def segments(program: bytes) -> list[int]:
    """The kinds of the segments of a 64-bit ELF file."""
    (start,) = struct.unpack_from("<Q", program, 32)
    size, count = struct.unpack_from("<HH", program, 54)
    return [struct.unpack_from("<I", program, start + size * place)[0] for place in range(count)]


def test_the_places_of_a_row_leave_padding_out() -> None:
    inputs = (TensorSpec("flag", (), "bool", ""), TensorSpec("wide", (3,), "float64", ""))
    spec = ModelSpec("two", inputs, (TensorSpec("y", (2,), "float32", ""),), ())
    text = print_rows(spec)
    assert "#define ROW_BYTES 25\n" in text
    assert "offsetof(two_input, wide)" in text
    framed = ModelSpec(
        "cut", (TensorSpec("x", (8, 2), "float32", ""),), spec.outputs, (), framing=Framing(3, 8)
    )
    assert "#define ROW_BYTES 8\n#define OUTPUT_BYTES 8\n" in print_rows(framed)
    assert "#define FRAME_ROWS 8\n#define HOP_ROWS 3\n" in print_rows(framed)
