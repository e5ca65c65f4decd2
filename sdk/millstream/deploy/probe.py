"""What a device is: asked in the shell, so that it needs no Python to answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from millstream.deploy.connection import Connection, checked
from millstream.deploy.errors import DeviceIncapable, PythonMissing
from millstream_runtime.spec import Machine

_OLDEST_PYTHON = (3, 11)
_OLDEST_NUMPY = 2
_PACKAGES = ("numpy", "numba", "onnxruntime", "apache-tvm")
#: What the scripts on the device call; every Linux has them, and so have busybox and Android.
_TOOLS = ("tar", "sha256sum", "mv", "df", "mkdir")

#: Prints name=value lines. $1 is the Python to ask, $2 the folder of the deployment.
_SCRIPT = r"""
echo "system=$(uname -s)"
echo "arch=$(uname -m)"
echo "bits=$(getconf LONG_BIT 2>/dev/null)"
features='s/^\(flags\|Features\|isa\)[[:space:]]*: *//p'
echo "features=$(sed -n "$features" /proc/cpuinfo 2>/dev/null | head -n 1)"
for tool in __TOOLS__; do
  command -v "$tool" >/dev/null 2>&1 || echo "lacks=$tool"
done
folder=$2
while [ ! -d "$folder" ] && [ "$folder" != . ] && [ "$folder" != / ]; do
  folder=$(dirname "$folder")
done
echo "free=$(df -Pk "$folder" | awk 'NR == 2 { print $4 }')"
command -v "$1" >/dev/null 2>&1 && "$1" -c '
import struct, sys
from importlib import metadata
print("python=%d.%d.%d" % sys.version_info[:3])
print("pointer=%d" % (8 * struct.calcsize("P")))
for name in sys.argv[1:]:
    try:
        print("package." + name + "=" + metadata.version(name))
    except metadata.PackageNotFoundError:
        pass
' __PACKAGES__
exit 0
""".replace("__TOOLS__", " ".join(_TOOLS)).replace("__PACKAGES__", " ".join(_PACKAGES))

_ARCH_NAMES = {"amd64": "x86_64", "arm64": "aarch64", "armv8l": "armv7l", "arm": "armv7l"}
#: What a 32-bit user land on a 64-bit kernel runs.
_NARROW = {"aarch64": "armv7l", "x86_64": "i686"}


@dataclass(frozen=True)
class Device:
    """A device as it answered. `python` is its version or an empty text, `packages` name and version of those
    that a backend needs, `free` the bytes that are free where the bundle shall lie."""

    machine: Machine
    python: str
    packages: Mapping[str, str] = field(default_factory=dict)
    free: int = 0

    def has(self, backend: str) -> bool:
        """Whether the library of a backend is there; tvm's run half needs none."""
        needed = {"numba": "numba", "onnxruntime": "onnxruntime", "relax": "apache-tvm"}.get(backend)
        return needed is None or needed in self.packages


def probe(connection: Connection, python: str, folder: str) -> Device:
    """Ask the device. Raises DeviceIncapable with every program that lacks, and as `checked` does."""
    lines = checked(connection, "it was asked what it is", _SCRIPT, python, folder).decode(errors="replace")
    pairs = [(line.partition("=")[0], line.partition("=")[2]) for line in lines.splitlines()]
    found, lacking = dict(pairs), [value for name, value in pairs if name == "lacks"]
    if lacking:
        raise DeviceIncapable(
            "the device lacks programs",
            where=connection.name,
            why=", ".join(lacking),
            fix="install coreutils",
        )
    free = found.get("free", "")
    return Device(
        _machine(found),
        found.get("python", ""),
        {name.removeprefix("package."): value for name, value in pairs if name.startswith("package.")},
        1024 * int(free) if free.isdigit() else 0,
    )


def check_python(device: Device, where: str, python: str, carried: bool) -> None:
    """Raise PythonMissing when the device cannot run the runtime, NumPy being `carried` there or not."""
    oldest = ".".join(map(str, _OLDEST_PYTHON))
    if not device.python or _version(device.python) < _OLDEST_PYTHON:
        raise PythonMissing(
            f"the device has no Python {oldest} or newer",
            where=where,
            why=f"{python} is {device.python or 'not there'}",
            fix="name another with --python, or deploy with --no-python",
        )
    numpy = device.packages.get("numpy", "")
    if not carried and (not numpy or _version(numpy)[0] < _OLDEST_NUMPY):
        raise PythonMissing(
            f"the device has no NumPy {_OLDEST_NUMPY} or newer",
            where=where,
            why=f"{python} has {numpy or 'none'}",
            fix="install it there, carry it with --with-numpy, or deploy with --no-python",
        )


def _machine(found: Mapping[str, str]) -> Machine:
    arch = found.get("arch", "").lower()
    arch = _ARCH_NAMES.get(arch, arch)
    # The kernel may be wider than the programs that it runs, and those are what counts.
    if found.get("pointer") or found.get("bits"):
        narrow = (found.get("pointer") or found["bits"]) == "32"
        arch = _NARROW.get(arch, arch) if narrow else arch
    return Machine(found.get("system", "").lower(), arch, tuple(sorted(found.get("features", "").split())))


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".")[:2] if part.isdigit())
