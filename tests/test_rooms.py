"""Who may import whom: read from the sources, so that a forbidden import cannot hide in a function."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = {
    "millstream_models": ROOT / "models/millstream_models",
    "millstream_runtime": ROOT / "runtimes/millstream_runtime",
    "millstream": ROOT / "sdk/millstream",
    "millstream_hw": ROOT / "hw/millstream_hw",
}

#: Beside the standard library and the room itself.
ALLOWED = {
    "millstream_models": {"torch"},
    "millstream_runtime": {"numpy"},
    "millstream_hw": {"millstream", "millstream_runtime", "numpy", "hls4ml", "da4ml", "onnx", "typer"},
    "millstream": {
        *(
            "millstream_runtime",
            "millstream_models",
            "numpy",
            "torch",
            "onnx",
            "ml_dtypes",
            "onnxscript",
            "tvm",
            "cuda",
        ),
        *("onnxruntime", "safetensors", "typer", "rich", "pydantic", "cryptography", "click", "transformers"),
    },
}

#: A run half adds the library that it runs on; verifying a signature needs cryptography.
EXTRA = {
    "millstream_runtime/backends/cuda": {"cuda"},
    "millstream_runtime/backends/opencl": {"pyopencl"},
    "millstream_runtime/backends/numba": {"numba", "llvmlite"},
    "millstream_runtime/backends/onnxruntime": {"onnxruntime"},
    "millstream_runtime/backends/relax": {"tvm_ffi"},
    "millstream_runtime/backends/serial": {"serial"},
    "millstream_runtime/signature": {"cryptography"},
}

#: The floors of the toolchain, bottom to top: a module may import from its own floor and below.
FLOORS = (
    {"errors", "linker", "object_files", "origins", "whereabouts", "writing"},
    {"budget", "extracting", "web_demo", "gap", "ladder", "sequences", "signing", "user_code"},
    {"graph", "package"},
    {"reference", "coarse", "protocol", "datasets", "float16"},
    {"fold", "trace", "describing", "provenance"},
    {"lower", "quantize", "reparameterize"},
    {
        "targets",
        "fallback",
        "prove",
        "prove_quantized",
        "budgeted",
        "losses",
        "narrowed",
        "step_time",
        "loading",
        "opening",
        "cold_load",
    },
    {"shaping"},
    {"bundling"},
    {"exporting", "verify", "bench", "deploy", "checking", "streamify", "importing"},
    {"huggingface", "profiling", "comparing"},
    {"report"},
    {"cli"},
    {"__main__"},
)


def _sources(room: str) -> Iterator[Path]:
    return ROOMS[room].rglob("*.py")


def _imports(path: Path) -> Iterator[str]:
    """Dotted names of everything that a file imports, relative imports left out."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _extra(room: str, path: Path) -> set[str]:
    relative = str(path.relative_to(ROOMS[room].parent))
    return {name for prefix, names in EXTRA.items() if relative.startswith(prefix) for name in names}


@pytest.mark.smoke
@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_what_it_may(room: str) -> None:
    for path in _sources(room):
        allowed = {room, *ALLOWED[room], *_extra(room, path), *sys.stdlib_module_names}
        forbidden = {name for name in _imports(path) if name.partition(".")[0] not in allowed}
        assert not forbidden, f"{path} imports {forbidden}"


@pytest.mark.smoke
def test_nobody_imports_tests_or_examples() -> None:
    for room in ROOMS:
        for path in _sources(room):
            assert not {name for name in _imports(path) if name.startswith(("tests", "examples"))}


@pytest.mark.smoke
def test_every_module_of_the_toolchain_stands_on_a_floor_and_imports_downward() -> None:
    floor = {name: level for level, names in enumerate(FLOORS) for name in names}
    for path in _sources("millstream"):
        name = path.relative_to(ROOMS["millstream"]).parts[0].removesuffix(".py")
        if name == "__init__":
            continue
        assert name in floor, f"{path} stands on no floor"
        for imported in _imports(path):
            package, _, rest = imported.partition(".")
            below = rest.partition(".")[0]
            if package == "millstream" and below in floor and below != name:
                assert floor[below] <= floor[name], f"{path} imports {imported} from above"


@pytest.mark.smoke
@pytest.mark.parametrize("room", ROOMS)
def test_there_is_no_circle_of_imports(room: str) -> None:
    modules = {".".join(_module(room, path)): path for path in _sources(room)}
    graph = {
        name: {found for full in _imports(path) if (found := _longest(full, modules)) not in (None, name)}
        for name, path in modules.items()
    }
    # A package's __init__ re-exports its parts; a part that imports from its own package is a circle.
    list(TopologicalSorter(graph).static_order())


def _module(room: str, path: Path) -> tuple[str, ...]:
    parts = (room, *path.relative_to(ROOMS[room]).with_suffix("").parts)
    return parts[:-1] if parts[-1] == "__init__" else parts


def _longest(imported: str, modules: dict[str, Path]) -> str | None:
    """The module that an import really loads: `a.b.name` may be module a.b.name, or name in a.b."""
    parts = imported.split(".")
    return next((n for k in range(len(parts), 0, -1) if (n := ".".join(parts[:k])) in modules), None)
