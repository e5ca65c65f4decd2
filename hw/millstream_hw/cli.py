"""`millstream fpga`: from a bundle in fixed point to a circuit that is equal bit for bit.

`millstream.cli` finds this group by name; nothing of the toolchain imports it.
"""

from __future__ import annotations

import re
from collections import Counter
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

    from millstream_hw.board.board import Board
    from millstream_hw.build import Build
    from millstream_hw.estimate import Estimate
    from millstream_hw.parts import Part
    from millstream_hw.planning import Plan

_T = TypeVar("_T")

app = typer.Typer(name="fpga", help="Turn a bundle in fixed point into a circuit.", no_args_is_help=True)

PartName = Annotated[
    str | None,
    typer.Option("--part", metavar="PART", help="The FPGA where it has no board: lfe5u-85f, ice40up5k."),
]
BoardName = Annotated[
    str | None,
    typer.Option("--board", metavar="BOARD", help="One of those that `millstream fpga boards` lists."),
]
Clock = Annotated[
    str | None, typer.Option(metavar="FREQUENCY", help="Such as 100MHz. Without: what is usual there.")
]
Lanes = Annotated[
    int | None, typer.Option(min=1, max=128, help="Multipliers of the engine. Without: the most that fit.")
]
Road = Annotated[str, typer.Option(metavar="ROAD", help="engine, da4ml for tiny models, hls4ml for Vitis.")]
BuildPath = Annotated[
    str, typer.Argument(metavar="BUILD", help="A folder that `millstream fpga build` made.")
]


def plan(
    bundle: BundlePath,
    part: PartName = None,
    board: BoardName = None,
    clock: Clock = None,
    as_json: Json = False,
) -> None:
    """Estimate what each road takes of a part, or the engine of a board, before it is built; exit code 1 says
    that none fits."""
    from millstream.quantize.calibration import Calibration
    from millstream.quantize.fixed_point import saturation
    from millstream_hw import planning
    from millstream_hw.board import planning as board_planning
    from millstream_hw.board.estimate import around
    from millstream_runtime import golden
    from millstream_runtime.spec import GOLDEN

    target, on = _place(part, board)
    speed = _clock(clock, target.clock_mhz)
    read = millstream_runtime.read(bundle)
    if on:
        plans = [board_planning.plan(planning.stateless_circuit_of(read), on)]
    else:
        found = planning.circuit_of(read)
        plans = [planning.plan(found, target, road, clock_mhz=speed) for road in planning.ROADS]
    beside = around(on) if on else None
    frames = golden.load(read.members[GOLDEN], read.manifest.model).inputs[0]
    met = saturation(planning.step_graph(read), Calibration([frames], read.initial()))
    fits = any(each.fits for each in plans)
    if as_json:
        roads = {each.road: _road(each, speed) for each in plans}
        place = {"part": target.name, "board": on.name if on else "", "clock_mhz": speed}
        print_json({**place, "fits": fits, "roads": roads, "beside": beside, "saturated": met})
    else:
        out = console()
        needs = {f"{each.road} {each.lanes or ''}".strip(): each.estimate for each in plans}
        needs |= {"of which beside it": beside} if beside else {}
        columns = ("", *needs, f"{target.name} has")
        out.print(table(columns, _planned([*needs.values()], target, speed), title="estimated"))
        for each in plans:
            reasons = [*each.overflows, *map(str, each.gaps)]
            out.print(facts({each.road: "fits" if each.fits else "no: " + "; ".join(reasons)}))
            strategies = Counter(share.strategy for share in each.shares if share.strategy)
            layers = ", ".join(f"{name}: {count}" for name, count in strategies.items())
            out.print(facts({f"layers by strategy, {each.road}": layers} if layers else {}))
        limits = ", ".join(f"{name}: {c.limited} of {c.values}" for name, c in met.items())
        out.print(facts({"at a limit in the golden frames": limits or "no value"}))
    if not fits:
        raise typer.Exit(1)


def boards(as_json: Json = False) -> None:
    """List the boards that are known, and where their pins are published."""
    from millstream_hw.board.boards import BOARDS

    if as_json:
        print_json({board.name: board.facts for board in BOARDS.values()})
        return
    for board in BOARDS.values():
        shown = {
            "board": f"{board.name} with {board.part}, clock of {board.clock_mhz:g} MHz",
            "serial line": f"{board.baud:,} baud",
            "pins": ", ".join(f"{name} {pin}" for name, pin in board.pins.items()),
            "published at": board.documentation,
        }
        console().print(facts(shown))


def build(
    bundle: BundlePath,
    output: Annotated[str, typer.Option("--output", "-o", metavar="FOLDER", help="Where the build goes.")],
    part: PartName = None,
    board: BoardName = None,
    road: Road = "engine",
    clock: Clock = None,
    lanes: Lanes = None,
    as_json: Json = False,
) -> None:
    """Write the circuit's sources, for a part or for a board. The same model and options are built once."""
    from millstream_hw import building
    from millstream_hw.planning import ENGINE

    target, on = _place(part, board)
    if on and road != ENGINE:
        raise UsageError(f"no board runs what {road} makes", fix="drop --road, or give --part")
    speed = _clock(clock, target.clock_mhz)
    read = millstream_runtime.read(bundle)
    if on:
        made, new = building.build_for_board(read, on, speed, lanes, output)
    else:
        made, new = building.build(read, target, speed, road, lanes, output)
    document = {"folder": made.folder, "new": new, "road": made.road, "lanes": made.lanes}
    if as_json:
        print_json({**document, "sources": made.compiled})
        return
    shown = {
        "build": made.folder + ("" if new else " (was there already)"),
        "circuit": made.title,
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
    cycles = "not counted by " + done.tool if done.cycles is None else done.cycles
    console().print(facts({"equal bit for bit": told, "cycles a frame": cycles}))


def synth(folder: BuildPath, as_json: Json = False) -> None:
    """Synthesize, place and route with yosys and nextpnr, or with Vitis what hls4ml made."""
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
        document = {"page": made.path(reports.PAGE), **reports.columns_of(reports.rows(made))}
        print_json({**document, "layers": made.shares})
    else:
        _show(made)
        if made.shares:
            title = "layer by layer, estimated"
            console().print(table(reports.LAYER_COLUMNS, reports.layers(made), title=title))
        console().print(facts({"page": made.path(reports.PAGE)}))


def pack(
    bundle: BundlePath,
    output: Annotated[str, typer.Option("--output", "-o", metavar="FILE", help="The new bundle.")],
    board: BoardName = None,
    lanes: Lanes = None,
    as_json: Json = False,
) -> None:
    """Add the engine to a bundle: simulated, as a backend called verilator, or on a board, as one called
    serial."""
    from millstream import package
    from millstream_hw import packing
    from millstream_hw.board.boards import board_named
    from millstream_runtime.backends.serial import PORT_VARIABLE

    read = millstream_runtime.read(bundle)
    if board is None:
        contents = _working(as_json, lambda begin: packing.pack(read, lanes or packing.LANES, begin))
        name, port, line = packing.NAME, "", {}
    else:
        found = board_named(board)
        contents = _working(as_json, lambda begin: packing.pack_for_board(read, found, lanes, begin))
        name, port = packing.BOARD_NAME, f"{PORT_VARIABLE}=PORT "
        size = packing.bytes_of_a_frame(read)
        line = {"bytes a frame": size, f"ms a frame at {found.baud:,} baud": 10e3 * size / found.baud}
        load = packing.bytes_of_the_load(contents)
        if load:
            line |= {"bytes to load": load, f"s to load at {found.baud:,} baud": 10 * load / found.baud}
    package.write(output, contents)
    if as_json:
        print_json({"bundle": output, "target": name, **line})
        return
    run = f"{port}millstream run {output} --backend {name}"
    console().print(facts({"bundle": output, **line, "next": run}))


for _command in (boards, plan, build, sim, synth, report, pack):
    app.command()(guarded(_command))


def _road(planned: Plan, speed: float) -> dict[str, object]:
    needs = planned.estimate
    found = {**asdict(needs), "microseconds": needs.microseconds(speed)} if needs else {}
    reasons = [*planned.overflows, *map(str, planned.gaps)]
    return {
        "fits": planned.fits,
        "lanes": planned.lanes,
        **found,
        "layers": planned.shares,
        "why not": reasons,
    }


def _planned(needs: list[Estimate | None], part: Part, speed: float) -> list[tuple[str, ...]]:
    """One row for each quantity: what each road needs, and what the part has."""
    quantities = {
        "logic tables": (lambda e: e.tables, part.tables),
        "registers": (lambda e: e.registers, part.registers),
        "multipliers": (lambda e: e.multipliers, part.multipliers),
        "block RAMs": (lambda e: e.blocks, part.blocks),
        **({"SPRAMs": (lambda e: e.sprams, part.sprams)} if part.sprams else {}),
        "cycles a frame": (lambda e: e.cycles, None),
        f"us a frame at {speed:g} MHz": (lambda e: round(e.microseconds(speed), 2), None),
    }
    return [
        (name, *(f"{read(each):,}" if each else "-" for each in needs), f"{has:,}" if has else "")
        for name, (read, has) in quantities.items()
    ]


def _show(made: Build) -> None:
    from millstream_hw import report as reports

    console().print(table(reports.COLUMNS, reports.rows(made), title=made.title))


def _working(quiet: bool, work: Callable[[Callable[[str], None]], _T]) -> _T:
    """Run something long, and show what it does meanwhile."""
    if quiet:
        return work(lambda what: None)
    with console().status("") as status:
        return work(status.update)


def _place(part: str | None, board: str | None) -> tuple[Part, Board | None]:
    """The part, and the board that it is on. Raises UsageError."""
    from millstream_hw.board.boards import board_named
    from millstream_hw.parts import part_named

    if part and not board:
        return part_named(part), None
    if board and not part:
        found = board_named(board)
        return found.target, found
    raise UsageError("a circuit is for a part or for a board", fix="give one of --part and --board")


def _clock(text: str | None, usual: float) -> float:
    """MHz of a text such as 100MHz. Raises UsageError."""
    if text is None:
        return usual
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*MHz", text, re.IGNORECASE)
    if match is None or not float(match[1]):
        raise UsageError("that is no clock", where=text, fix="write it as --clock 100MHz")
    return float(match[1])
