"""What a circuit takes of a part after placing and routing, and how fast it is there.

    python benchmarks/fpga.py --folder build/fpga
    python benchmarks/fpga.py --folder build/fpga --only lmuformer_jv --part ice40up5k

Every circuit is first held against the reference bit for bit. The table of docs/fpga.md is what this prints.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from circuits import CHANNELS, GRU, GatedDeltaNet, GatedLinearAttention, Memory, seeded
from options import add_folder, add_json, room
from report import machine, write_json
from rich.console import Console
from torch import nn

import millstream
import millstream_runtime
from millstream.quantize import FORMATS
from millstream_hw import building, simulation, synthesis
from millstream_hw.parts import part_named


@dataclass(frozen=True)
class Case:
    """A model on a part: `make` is None for a trained model of the catalogue. `lanes` is None where the road
    has none, `frames` are random ones that are simulated."""

    model: str
    make: Callable[[], nn.Module] | None
    road: str
    part: str
    clock_mhz: float
    lanes: int | None = None
    frames: int = 300
    format: str = "fixed16"


@dataclass(frozen=True)
class Row:
    """What came of a case. `tables` and the like are None where the part has none of it."""

    model: str
    format: str
    road: str
    part: str
    tables: int
    registers: int | None
    multipliers: int
    blocks: int
    sprams: int
    fmax_mhz: float
    cycles: int
    frames: str
    tools: Sequence[str]

    @property
    def microseconds(self) -> float:
        """A frame at the highest clock."""
        return self.cycles / self.fmax_mhz


CASES = (
    Case("lmuformer_jv", None, "engine", "lfe5u-85f", 100, lanes=16),
    Case("lmuformer_jv", None, "engine", "lfe5u-85f", 100, lanes=32),
    Case("gru_64", partial(GRU, 64), "engine", "lfe5u-85f", 100, lanes=16),
    Case("gla_4x16", partial(GatedLinearAttention, 4, 16), "engine", "lfe5u-85f", 100, lanes=16),
    Case("gated_deltanet_4x16", partial(GatedDeltaNet, 4, 16), "engine", "lfe5u-85f", 100, lanes=16),
    Case("gru_24", partial(GRU, 24), "engine", "lfe5u-25f", 100, lanes=8),
    Case("lmuformer_jv", None, "engine", "lfe5u-85f", 100, lanes=16, format="fixed16-w8"),
    Case("lmuformer_jv", None, "engine", "ice40up5k", 24, lanes=8, format="fixed16-w8"),
    Case("gru_128", partial(GRU, 128), "engine", "ice40up5k", 24, lanes=8, format="fixed16-w8"),
    Case("gru_24", partial(GRU, 24), "engine", "ice40up5k", 24, lanes=4),
    Case("memory_4", partial(Memory, 4), "da4ml", "lfe5u-85f", 20),
)
_HEADINGS = ("model", "format", "road", "part", "logic tables", "registers", "multipliers", "block RAMs",
             "Fmax, MHz", "cycles a frame", "us a frame", "equal bit for bit")  # fmt: skip


def main() -> None:
    """Measure the cases and print the table in Markdown."""
    arguments = _arguments()
    console = Console(width=200)
    rows = []
    with room(arguments.folder) as folder:
        for case in CASES:
            if arguments.only in (None, case.model) and arguments.part in (None, case.part):
                with console.status(case.model) as status:
                    rows.append(measure(case, folder, status.update))
                console.print(_line(_cells(rows[-1])), highlight=False)
    console.print("\n".join(_markdown(rows)), highlight=False)
    console.print("; ".join(dict.fromkeys(tool for row in rows for tool in row.tools)), highlight=False)
    if arguments.json:
        write_json(arguments.json, machine(), rows)


def measure(case: Case, folder: Path, begin: Callable[[str], None]) -> Row:
    """Export, build, simulate, place and route one case."""
    part = part_named(case.part)
    bundle = millstream_runtime.read(str(exported(case, folder, begin)))
    place = folder / f"{case.model}-{case.format}-{case.road}-{case.part}-{case.lanes or 0}"
    build, _ = building.build(bundle, part, case.clock_mhz, case.road, case.lanes, str(place))
    run = simulation.simulate(build, case.frames, 0, begin)
    made = synthesis.synthesize(build, begin)
    lanes = f"{case.road}, {case.lanes} lanes" if case.lanes else case.road
    told = f"{run.golden_frames} + {run.random_frames}"
    sizes = (made.tables, made.registers, made.multipliers, made.blocks, made.sprams, made.fmax_mhz)
    return Row(
        case.model, case.format, lanes, case.part, *sizes, run.cycles or 0, told, (*made.tools, run.tool)
    )


def exported(case: Case, folder: Path, begin: Callable[[str], None]) -> Path:
    """The bundle of a case's model in fixed point; one that is there is used again."""
    path = folder / f"{case.model}-{case.format}.mill"
    if path.exists():
        return path
    begin("export")
    if case.make is None:
        options = ["--target", "onnxruntime", "--quantize", case.format, "-o", str(path)]
        subprocess.run([sys.executable, "-m", "millstream", "export", case.model, *options], check=True)
        return path
    x = np.random.default_rng(0).standard_normal((8, 40, CHANNELS)).astype(np.float32)
    millstream.export(seeded(case.make), x, target=(), format=FORMATS[case.format]).save(path)
    return path


def _markdown(rows: Sequence[Row]) -> list[str]:
    marks = [*["---"] * 4, *["---:"] * (len(_HEADINGS) - 4)]
    return [_line(_HEADINGS), _line(marks), *(_line(_cells(row)) for row in rows)]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _cells(row: Row) -> tuple[str, ...]:
    part = part_named(row.part)
    tables = f"{row.tables:,} ({100 * row.tables / part.tables:.0f} %)"
    registers = "-" if row.registers is None else f"{row.registers:,}"
    blocks = f"{row.blocks} of {part.blocks}" + (f", {row.sprams} SPRAMs" if row.sprams else "")
    speed = (f"{row.fmax_mhz:.1f}", f"{row.cycles:,}", f"{row.microseconds:.2f}")
    return (
        row.model,
        row.format,
        row.road,
        row.part,
        tables,
        registers,
        str(row.multipliers),
        blocks,
        *speed,
        row.frames,
    )


def _arguments() -> argparse.Namespace:
    made = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    made.add_argument("--only", choices=sorted({case.model for case in CASES}), help="one model")
    made.add_argument("--part", choices=sorted({case.part for case in CASES}), help="one part")
    add_folder(made)
    add_json(made)
    return made.parse_args()


if __name__ == "__main__":
    main()
