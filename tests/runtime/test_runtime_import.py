"""Importing the runtime brings NumPy and the standard library, and little of that."""

import json
import subprocess
import sys

from runtime_builders import running_sum, write_bundle

PROBE = """
import json, sys
import numpy
before = set(sys.modules)
import millstream_runtime
print(json.dumps(sorted(set(sys.modules) - before)))
"""

READ = """
import json, sys
import millstream_runtime as ms
bundle = ms.read(sys.argv[1])
print(json.dumps(sorted(sys.modules)))
"""

FOREIGN = {
    "torch",
    "onnx",
    "tvm",
    "tvm_ffi",
    "numba",
    "llvmlite",
    "onnxruntime",
    "cryptography",
    "safetensors",
}
HEAVY = {
    "zipfile",
    "asyncio",
    "ssl",
    "logging",
    "email",
    "http",
    "urllib.request",
    "multiprocessing",
    "tempfile",
}


def fresh(code: str, *arguments: str):
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], check=True, capture_output=True, text=True
    )
    return json.loads(done.stdout)


def test_import_brings_nothing_foreign_and_nothing_heavy():
    modules = fresh(PROBE)
    assert {name for name in modules if name.split(".")[0] in FOREIGN} == set()
    assert set(modules) & HEAVY == set()
    outside = {name.split(".")[0] for name in modules} - sys.stdlib_module_names
    assert outside == {"millstream_runtime"}


def test_reading_a_bundle_opens_no_backend(tmp_path):
    modules = fresh(READ, str(write_bundle(tmp_path, running_sum())))
    assert {name for name in modules if name.split(".")[0] in FOREIGN} == set()
