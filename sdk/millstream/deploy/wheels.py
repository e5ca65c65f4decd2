"""The wheels that a device gets: the runtime, made from its sources, and NumPy where it lacks."""

from __future__ import annotations

import base64
import hashlib
import io
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import millstream
import millstream_runtime
from millstream.deploy.errors import WheelMissing
from millstream_runtime.spec import Machine

#: Zip knows no earlier moment; the same sources give the same wheel.
_MOMENT = (1980, 1, 1, 0, 0, 0)
#: Oldest C library that NumPy's wheels are made for.
_PLATFORMS = ("manylinux_2_28", "manylinux_2_27", "manylinux2014", "manylinux_2_17")


def runtime_wheel() -> tuple[str, bytes]:
    """Name and bytes of the wheel of `millstream_runtime`, as it is here."""
    name = f"millstream_runtime-{millstream.__version__}"
    root = Path(millstream_runtime.__path__[0])
    files = {
        f"{root.name}/{p.relative_to(root).as_posix()}": p.read_bytes() for p in sorted(root.rglob("*.py"))
    }
    info = f"{name}.dist-info"
    files[f"{info}/METADATA"] = (
        f"Metadata-Version: 2.1\nName: millstream-runtime\nVersion: {millstream.__version__}\n"
        "Requires-Dist: numpy>=2.0\n"
    ).encode()
    files[f"{info}/WHEEL"] = (
        b"Wheel-Version: 1.0\nGenerator: millstream\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    )
    record = [f"{path},{_digest(data)},{len(data)}" for path, data in files.items()]
    files[f"{info}/RECORD"] = "\n".join((*record, f"{info}/RECORD,,", "")).encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as wheel:
        for path, data in files.items():
            entry = zipfile.ZipInfo(path, _MOMENT)
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            wheel.writestr(entry, data)
    return f"{name}-py3-none-any.whl", buffer.getvalue()


def numpy_wheel(machine: Machine, python: str) -> tuple[str, bytes]:
    """Name and bytes of the newest wheel of NumPy 2 for a Linux of that architecture and version of Python,
    fetched with this host's pip. Raises WheelMissing."""
    with tempfile.TemporaryDirectory(prefix="millstream-") as folder:
        platforms = [f"--platform={platform}_{machine.arch}" for platform in _PLATFORMS]
        command = [
            *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"),
            *(*platforms, f"--python-version={'.'.join(python.split('.')[:2])}", "--implementation=cp"),
            *("--dest", folder, "numpy>=2.0"),
        ]
        done = subprocess.run(command, capture_output=True, text=True)
        found = list(Path(folder).glob("*.whl"))
        if done.returncode or not found:
            raise WheelMissing(
                f"no wheel of NumPy for {machine.arch} and Python {python}",
                why=(done.stderr.strip().splitlines() or ["pip said nothing"])[-1],
                fix="connect this host to a package index, install NumPy on the device, or use --no-python",
            )
        return found[0].name, found[0].read_bytes()


def unpacked(wheel: bytes) -> int:
    """Bytes that a wheel takes when it is unpacked."""
    with zipfile.ZipFile(io.BytesIO(wheel)) as opened:
        return sum(entry.file_size for entry in opened.infolist())


def _digest(data: bytes) -> str:
    """As RECORD writes it."""
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
