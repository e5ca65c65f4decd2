"""A step as one static program, for a device without Python: `stream.c` around the C interface."""

from __future__ import annotations

import math
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from millstream.errors import LinkFailed, ToolMissing
from millstream.targets.c.layout import Member, layout
from millstream.targets.emulation.machines import LINUX, PACKAGES
from millstream_runtime.spec import ModelSpec

_HERE = Path(__file__).parent
_OPTIONS = ("-std=c11", "-D_POSIX_C_SOURCE=200809L", "-O2", "-Wall", "-Wextra", "-Werror", "-static", "-s")


def architectures() -> tuple[str, ...]:
    """The machines that static programs can be made for, as Linux calls them."""
    return tuple(LINUX)


def static_program(files: Mapping[str, bytes], spec: ModelSpec, architecture: str) -> bytes:
    """The program out of the files of a target with the C interface (`c`, or a kernel for the architecture).

    Raises ToolMissing without a compiler for the architecture, LinkFailed when it refuses.
    """
    compiler = LINUX[architecture].compiler
    if not shutil.which(compiler):
        raise ToolMissing(f"{compiler} is not installed", fix=f"apt install {' '.join(PACKAGES[compiler])}")
    with tempfile.TemporaryDirectory(prefix="millstream-") as folder:
        for name, data in files.items():
            (Path(folder) / name).write_bytes(data)
        (Path(folder) / "row.h").write_text(print_rows(spec))
        step = [name for name in ("step.c", "weights.c", "weights.S", "kernel.o") if name in files]
        naming = (f"-DMODEL={layout(spec).prefix}", "-I.")
        command = [compiler, *_OPTIONS, *naming, str(_HERE / "stream.c"), *step, "-lm", "-o", "step"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        if done.returncode:
            raise LinkFailed("the program cannot be linked", where=" ".join(command), why=done.stderr.strip())
        return (Path(folder) / "step").read_bytes()


def print_rows(spec: ModelSpec) -> str:
    """`row.h`: where the tensors of a row lie in the structs, and how rows become frames."""
    structs = layout(spec)
    given = structs.input[: len(spec.inputs)]
    frame_rows, hop = (spec.framing.length, spec.framing.hop) if spec.framing else (1, 1)
    valid = structs.input[-1].name if spec.valid else ""
    return "\n".join(
        (
            "/* Made for one model; see stream.c. */",
            *_parts("inputs", f"{structs.prefix}_input", given),
            *_parts("outputs", f"{structs.prefix}_output", structs.output),
            f"#define FRAME_ROWS {frame_rows}",
            f"#define HOP_ROWS {hop}",
            f"#define ROW_BYTES {_bytes(given) // frame_rows}",
            f"#define OUTPUT_BYTES {_bytes(structs.output)}",
            f"#define LOOK_AHEAD {spec.look_ahead}",
            f"#define SET_VALID(in, flag) {f'((in)->{valid}[0] = (flag))' if valid else '((void)(flag))'}",
            "",
        )
    )


def _parts(name: str, struct: str, members: Sequence[Member]) -> Iterator[str]:
    yield f"static const struct part {name}[] = {{"
    for member in members:
        if member.size:
            yield f"    {{offsetof({struct}, {member.name}), sizeof (({struct} *)0)->{member.name}}},"
    yield "};"


def _bytes(members: Sequence[Member]) -> int:
    return sum(math.prod((m.size, np.dtype(m.tensor.dtype).itemsize)) for m in members)
