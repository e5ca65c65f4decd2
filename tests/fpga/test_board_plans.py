"""Plans for a board: the line and the loader beside the engine, and models that have no room with them."""

import json
import re
from dataclasses import replace

import pytest

import millstream_runtime
from millstream_hw import planning, tools
from millstream_hw.board import planning as board_planning
from millstream_hw.board.boards import BOARDS, board_named
from millstream_hw.board.estimate import around
from millstream_hw.build import read
from millstream_hw.flows import FLOWS
from millstream_hw.parts import PARTS, part_named
from millstream_hw.planning import stateless_circuit_of


def _document(result, code=0):
    assert result.exit_code == code, result.stderr
    return json.loads(result.stdout)


@pytest.fixture(scope="module")
def stateless(bundle):
    """The GRU of 37 with its states on the line."""
    return stateless_circuit_of(millstream_runtime.read(bundle))


@pytest.mark.parametrize("name", BOARDS)
def test_a_plan_for_a_board_counts_the_line_and_the_loader_too(fpga, bundle, stateless, name):
    part = board_named(name).part
    found = _document(fpga("plan", bundle, "--board", name, "--json"))
    assert (found["board"], found["part"], found["fits"]) == (name, part, True)
    engine, beside = found["roads"]["engine"], found["beside"]
    alone = planning.engine(stateless, part_named(part)).estimate
    assert beside["tables"] > 300
    assert beside["registers"] > 100
    assert engine["tables"] == alone.tables + beside["tables"]
    assert engine["registers"] == alone.registers + beside["registers"]
    assert (engine["blocks"], engine["cycles"]) == (alone.blocks, alone.cycles)
    assert found["roads"].keys() == {"engine"}
    # With a frame the states go over the port as well: a plan for the part alone has them in the circuit.
    bare = _document(fpga("plan", bundle, "--part", part, "--json"))
    assert (bare["board"], bare["beside"]) == ("", None)
    assert bare["roads"]["engine"]["cycles"] < engine["cycles"]
    shown = fpga("plan", bundle, "--board", name).stdout
    assert re.search(rf"logic tables +{engine['tables']:,} +{beside['tables']:,} ", shown)


def test_a_build_for_a_board_has_the_estimate_of_the_plan(fpga, bundle, tmp_path):
    planned = _document(fpga("plan", bundle, "--board", "icebreaker", "--json"))["roads"]["engine"]
    built = _document(fpga("build", bundle, "--board", "icebreaker", "-o", tmp_path / "b", "--json"))
    made = read(str(tmp_path / "b"))
    assert planned["lanes"] == built["lanes"] == made.lanes
    assert planned["tables"] == made.estimate.tables


def test_a_plan_is_for_a_part_or_for_a_board(fpga, bundle):
    assert fpga("plan", bundle).exit_code == 2
    both = fpga("plan", bundle, "--part", "ice40up5k", "--board", "icebreaker")
    assert (both.exit_code, "--part and --board" in both.stderr) == (2, True)
    assert "use one of ulx3s" in fpga("plan", bundle, "--board", "arty").stderr


def _tight(monkeypatch, board: str, tables: int) -> None:
    """A board of which the part has so many logic tables."""
    small = replace(board_named(board).target, name="tight", tables=tables)
    monkeypatch.setitem(PARTS, "tight", small)
    monkeypatch.setitem(BOARDS, "tight", replace(board_named(board), name="tight", part="tight"))


@pytest.mark.parametrize("board", BOARDS)
def test_a_model_that_leaves_no_room_for_the_line_is_refused_by_name(
    fpga, bundle, stateless, board, tmp_path, monkeypatch
):
    smallest = planning.engine(stateless, board_named(board).target, 1).estimate.tables
    room = around(board_named(board)).tables
    _tight(monkeypatch, board, smallest + room - 1)
    assert planning.engine(stateless, part_named("tight"), 1).fits
    told = f"{smallest + room:,} logic tables, tight has {smallest + room - 1:,}"
    planned = fpga("plan", bundle, "--board", "tight")
    assert planned.exit_code == 1
    assert told in " ".join(planned.stdout.split())
    for command in ("build", "pack"):
        refused = fpga(command, bundle, "--board", "tight", "-o", tmp_path / "out")
        assert refused.exit_code == 1
        assert "does not fit tight with its serial line" in refused.stderr
        assert told in refused.stderr
        assert not (tmp_path / "out").exists()
    _tight(monkeypatch, board, smallest + room)
    assert fpga("build", bundle, "--board", "tight", "-o", tmp_path / "out").exit_code == 0


def test_lanes_make_room_for_the_line(stateless, monkeypatch):
    needs = planning.engine(stateless, part_named("lfe5u-85f"), 8).estimate.tables
    _tight(monkeypatch, "ulx3s", needs)
    assert planning.engine(stateless, part_named("tight")).lanes == 8
    assert board_planning.fitting(stateless, board_named("tight")).lanes == 4


#: Words of 16 bits, the block RAMs of a 4-kbit part that Yosys makes of them, and how few would do.
_MEMORIES = ((1100, 5, 5), (2304, 9, 9), (2600, 12, 11), (3300, 13, 13))


@pytest.mark.parametrize(("words", "blocks", "fewest"), _MEMORIES)
def test_block_rams_are_counted_as_yosys_takes_them(tmp_path, words, blocks, fewest):
    part = part_named("ice40up5k")
    assert part.blocks_of(words, 16) == blocks
    assert -(-words // 256) == fewest
    (tmp_path / "memory.v").write_text(f"""
        module memory (input clk, write, input [11:0] to, from, input [15:0] given, output reg [15:0] found);
        reg [15:0] words [0:{words - 1}];
        always @(posedge clk) begin if (write) words[to] <= given; found <= words[from]; end
        endmodule
    """)
    made = _made(tmp_path, "synth_ice40 -top memory", "memory.v")
    assert made["SB_RAM40_4K"] == blocks


def _made(folder, synthesize: str, sources: str) -> dict[str, int]:
    """How many cells of each kind Yosys makes."""
    script = f"read_verilog -defer {sources}; {synthesize}; tee -o cells.txt stat"
    tools.find("yosys").run(["-q", "-p", script], str(folder), "yosys.log")
    counts = {}
    for line in (folder / "cells.txt").read_text().splitlines():
        numbers, names = re.findall(r"\b\d+\b", line), re.findall(r"\b[A-Z][A-Z0-9_]+\b", line)
        if len(names) == 1 and len(line.split()) <= 3 and numbers:
            counts[names[0]] = int(numbers[0])
    return counts


@pytest.mark.slow
@pytest.mark.parametrize("name", BOARDS)
def test_what_is_around_the_engine_is_what_yosys_makes_of_it(fpga, bundle, tmp_path, name):
    """Everything but the engine, which is a box with its ports."""
    assert fpga("build", bundle, "--board", name, "-o", tmp_path / "b").exit_code == 0
    made, folder = read(str(tmp_path / "b")), tmp_path / "b"
    top = (folder / "millstream_top.v").read_text()
    box = top[top.index("module ") : top.index(");") + 2]
    (folder / "box.v").write_text(f"(* blackbox *) {box} endmodule")
    own = [each for each in made.compiled if each.split(".")[0] in _AROUND]
    flow = FLOWS[made.target.family]
    cells = _made(folder, f"{flow.synthesize} -top millstream_board", " ".join(["box.v", *own]))
    rule = around(board_named(name))
    registers = sum(count for cell, count in cells.items() if cell.startswith(("SB_DFF", "TRELLIS_FF")))
    tables = cells.get("SB_LUT4", 0) + cells.get("LUT4", 0)
    assert abs(registers - rule.registers) <= 0.1 * rule.registers
    assert abs(tables - rule.tables) <= 0.2 * rule.tables
    assert not [cell for cell in cells if cell.startswith(("SB_RAM", "DP16KD"))]


_AROUND = ("uart", "link", "loader", "millstream_serial", "millstream_board")
