"""`millstream fpga`: from a bundle in fixed point to a circuit that is equal bit for bit.

`millstream.cli` finds this group by name; nothing of the toolchain imports it.
"""

from __future__ import annotations

import re
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

import millstream_runtime
from millstream.cli.arguments import BundlePath, Json
from millstream.cli.failure import guarded
from millstream.cli.output import console, facts, print_json, table
from millstream.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from millstream_hw.build import Build
    from millstream_hw.parts import Part

_T = TypeVar("_T")

app = typer.Typer(name="fpga", help="Turn a bundle in fixed point into a circuit.", no_args_is_help=True)

PartName = Annotated[
    str, typer.Option("--part", metavar="PART", help="The FPGA, such as lfe5u-85f or ice40up5k.")
]
Clock = Annotated[
    str | None, typer.Option(metavar="FREQUENCY", help="Such as 100MHz. Without: usual for the part.")
]
Lanes = Annotated[
    int | None, typer.Option(min=1, max=128, help="Multipliers of the engine. Without: the most that fit.")
]
BuildPath = Annotated[
    str, typer.Argument(metavar="BUILD", help="A folder that `millstream fpga build` made.")
]


def plan(bundle: BundlePath, part: PartName, clock: Clock = None, as_json: Json = False) -> None:
    """Estimate what the model takes of a part, before it is built; exit code 1 says that it does not fit."""
    from millstream.quantize.calibration import Calibration
    from millstream.quantize.fixed_point import saturation
    from millstream_hw import planning
    from millstream_hw.parts import part_named
    from millstream_runtime import golden
    from millstream_runtime.spec import GOLDEN

    target = part_named(part)
    read = millstream_runtime.read(bundle)
    found = planning.plan_engine(planning.circuit_of(read), target)
    frames = golden.load(read.members[GOLDEN], read.manifest.model).inputs[0]
    met = saturation(planning.step_graph(read), Calibration([frames], read.initial()))
    speed = _clock(clock, target)
    document = {
        "part": target.name,
        "clock_mhz": speed,
        "fits": not found.overflows,
        "overflows": found.overflows,
        "roads": {"engine": {"lanes": found.image.lanes, **asdict(found.estimate)}},
        "microseconds": found.estimate.microseconds(speed),
        "saturated": {name: asdict(count) for name, count in met.items()},
    }
    if as_json:
        print_json(document)
    else:
        needs = found.estimate
        rows = (
            ("logic tables", needs.tables, target.tables),
            ("registers", needs.registers, target.registers),
            ("multipliers", needs.multipliers, target.multipliers),
            ("block RAMs", needs.blocks, target.blocks),
        )
        out = console()
        title = f"engine with {found.image.lanes} lanes, estimated"
        out.print(table(("", "needs", f"{target.name} has"), rows, title=title))
        limits = ", ".join(f"{name}: {c.limited} of {c.values}" for name, c in met.items())
        out.print(
            facts(
                {
                    "cycles a frame": needs.cycles,
                    f"us a frame at {speed:g} MHz": needs.microseconds(speed),
                    "at a limit in the golden frames": limits or "no value",
                    "fits": "no: " + "; ".join(found.overflows) if found.overflows else "yes",
                }
            )
        )
    if found.overflows:
        raise typer.Exit(1)


def build(
    bundle: BundlePath,
    part: PartName,
    output: Annotated[str, typer.Option("--output", "-o", metavar="FOLDER", help="Where the build goes.")],
    clock: Clock = None,
    lanes: Lanes = None,
    as_json: Json = False,
) -> None:
    """Write the circuit's sources. The same model and options are built once."""
    from millstream_hw import building
    from millstream_hw.parts import part_named

    target = part_named(part)
    made, new = building.build_engine(
        millstream_runtime.read(bundle), target, _clock(clock, target), lanes, output
    )
    document = {"folder": made.folder, "new": new, "lanes": made.lanes, "sources": made.sources}
    if as_json:
        print_json(document)
        return
    shown = {
        "build": made.folder + ("" if new else " (was there already)"),
        "engine": f"{made.lanes} lanes, {made.part} at {made.clock_mhz:g} MHz",
        "next": f"millstream fpga sim {made.folder}; millstream fpga synth {made.folder}",
    }
    console().print(facts(shown))


def sim(
    folder: BuildPath,
    frames: Annotated[int, typer.Option(min=1, help="Random frames, with resets in mid-stream.")] = 1000,
    seed: Annotated[int, typer.Option(help="Of the random frames.")] = 0,
    as_json: Json = False,
) -> None:
    """Stream golden and random frames through the circuit in closed loop; every bit must be the golden
    model's, with resets in mid-stream and ports that stall."""
    from millstream_hw import simulation
    from millstream_hw.build import read

    made = read(folder)
    done = _working(as_json, lambda begin: simulation.simulate(made, frames, seed, begin))
    if as_json:
        print_json(done)
        return
    told = f"{done.golden_frames} golden frames, {done.random_frames} random ones with {done.resets} resets"
    console().print(facts({"equal bit for bit": told, "cycles a frame": done.cycles}))


def synth(folder: BuildPath, as_json: Json = False) -> None:
    """Synthesize, place and route with yosys and nextpnr."""
    from millstream_hw import synthesis
    from millstream_hw.build import read

    made = read(folder)
    done = _working(as_json, lambda begin: synthesis.synthesize(made, begin))
    if as_json:
        print_json(done)
    else:
        _show(made)


def report(folder: BuildPath, as_json: Json = False) -> None:
    """Show what was estimated, simulated and synthesized; write it as an HTML page too."""
    from millstream_hw import report as reports
    from millstream_hw.build import read

    made = read(folder)
    with open(made.path(reports.PAGE), "w", encoding="utf-8") as file:
        file.write(reports.page(made))
    if as_json:
        print_json({"page": made.path(reports.PAGE), **reports.columns_of(reports.rows(made))})
    else:
        _show(made)
        console().print(facts({"page": made.path(reports.PAGE)}))


for _command in (plan, build, sim, synth, report):
    app.command()(guarded(_command))


def _show(made: Build) -> None:
    from millstream_hw import report as reports

    title = f"{made.model} on {made.part}, {made.road} with {made.lanes} lanes"
    console().print(table(reports.COLUMNS, reports.rows(made), title=title))


def _working(quiet: bool, work: Callable[[Callable[[str], None]], _T]) -> _T:
    """Run something long, and show what it does meanwhile."""
    if quiet:
        return work(lambda what: None)
    with console().status("") as status:
        return work(status.update)


def _clock(text: str | None, part: Part) -> float:
    """MHz of a text such as 100MHz. Raises UsageError."""
    if text is None:
        return part.clock_mhz
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*MHz", text, re.IGNORECASE)
    if match is None or not float(match[1]):
        raise UsageError("that is no clock", where=text, fix="write it as --clock 100MHz")
    return float(match[1])
