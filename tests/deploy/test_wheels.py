"""What is carried to a device: the runtime's wheel, NumPy's, and the archive around them."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from ssh_device import python_with

from millstream.deploy.errors import WheelMissing
from millstream.deploy.payload import Payload
from millstream.deploy.wheels import numpy_wheel, runtime_wheel, unpacked
from millstream_runtime.spec import Machine


def test_the_wheel_of_the_runtime_is_whole_and_the_same_every_time(tmp_path: Path) -> None:
    name, data = runtime_wheel()
    assert runtime_wheel() == (name, data)
    (tmp_path / name).write_bytes(data)
    # pip checks names, metadata and every hash in RECORD.
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", tmp_path / "to"]
    subprocess.run([*command, tmp_path / name], check=True, capture_output=True)
    installed = sum(path.stat().st_size for path in (tmp_path / "to/millstream_runtime").rglob("*.py"))
    assert 0 < installed <= unpacked(data)
    python = python_with(tmp_path / "python", "numpy")
    said = subprocess.run(
        [python, "-c", "import millstream_runtime.__main__ as m; print(m.__file__)"],
        env={"PYTHONPATH": str(tmp_path / name)},
        capture_output=True,
        text=True,
    )
    assert said.stdout.startswith(str(tmp_path)), said.stderr


def test_numpy_is_fetched_for_the_machine_and_its_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for tag in ("cp312-cp312-manylinux_2_28_aarch64", "cp311-cp311-manylinux_2_28_x86_64"):
        wheel(tmp_path / f"numpy-2.9.1-{tag}.whl")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    name, data = numpy_wheel(Machine("linux", "aarch64"), "3.12.3")
    assert name == "numpy-2.9.1-cp312-cp312-manylinux_2_28_aarch64.whl"
    assert data == (tmp_path / name).read_bytes()
    with pytest.raises(WheelMissing, match="riscv64"):
        numpy_wheel(Machine("linux", "riscv64"), "3.12.3")


def wheel(path: Path) -> None:
    """A wheel with nothing in it."""
    info = "numpy-2.9.1.dist-info"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: numpy\nVersion: 2.9.1\n")
        file.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: false\n")
        file.writestr(f"{info}/RECORD", "")


def test_the_same_files_have_the_same_name() -> None:
    one, other = Payload({"a": b"1", "run": b"2"}), Payload({"run": b"2", "a": b"1"})
    assert (one.id, one.archive()) == (other.id, other.archive())
    assert Payload({"a": b"1", "run": b"3"}).id != one.id
