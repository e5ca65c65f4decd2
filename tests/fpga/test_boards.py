"""Boards: their clocks, their pins, and what the tools are given for them."""

import json
import os
import re
import shutil
import stat
from fractions import Fraction

import numpy as np
import pytest

import millstream_runtime
from millstream_hw import closed_loop, tools
from millstream_hw.board.boards import board_named
from millstream_hw.board.clock import clocks_per_bit
from millstream_hw.board.ecp5.pll import dividers
from millstream_hw.board.ice40 import pll as ice40_pll
from millstream_hw.engine import image as engine
from millstream_hw.engine.compile import compile_circuit
from millstream_hw.errors import ClockUnreachable
from millstream_hw.planning import stateless_circuit_of, step_graph
from millstream_hw.simulation import known_frames


def _beside(tool, name):
    """A program that comes with a tool."""
    path = shutil.which(name) or os.path.join(os.path.dirname(tools.find(tool).path), f"yowasp-{name}")
    return tools.Tool(name, path)


@pytest.mark.parametrize("wanted", [75, 90, 100])
def test_a_pll_is_set_as_ecppll_sets_it(tmp_path, wanted):
    tool = _beside("ecppack", "ecppll")
    tool.run(["-i", "25", "-o", str(wanted), "-f", "pll.v"], str(tmp_path), "log")
    said = (tmp_path / "pll.v").read_text()
    reference, feedback, output = (
        int(re.search(rf"\.{name}\((\d+)\)", said)[1]) for name in ("CLKI_DIV", "CLKFB_DIV", "CLKOP_DIV")
    )
    found = dividers(25, wanted)
    assert (found.reference, found.feedback, found.output) == (reference, feedback, output)


@pytest.mark.parametrize(("given", "wanted"), [(12, 24), (12, 30), (12, 36), (24, 36), (100, 100)])
def test_the_pll_of_an_ice40_is_set_as_icepll_sets_it(tmp_path, given, wanted):
    _beside("icepack", "icepll").run(
        ["-i", str(given), "-o", str(wanted), "-f", "pll.v"], str(tmp_path), "log"
    )
    said = (tmp_path / "pll.v").read_text()
    written = ice40_pll.source(given, wanted)
    for name in ("DIVR", "DIVF", "DIVQ", "FILTER_RANGE"):
        bits = re.search(rf"\.{name}\(\d'b([01]+)\)", said)[1]
        assert int(re.search(rf"\.{name}\(\d'd(\d+)\)", written)[1]) == int(bits, 2), name


def test_the_pll_of_an_ice40_keeps_to_its_limits():
    """10 to 133 MHz compared, 533 to 1066 MHz made, 16 to 275 MHz that come out."""
    for wanted in range(18, 276, 6):
        found = ice40_pll.dividers(12, wanted)
        assert 12 * found.ratio == wanted
        assert 10 <= 12 / found.reference <= 133
        assert 533 <= wanted * found.output <= 1066
    for wanted in (12.75, 288, 24.01):
        with pytest.raises(ClockUnreachable, match="no PLL"):
            ice40_pll.dividers(12, wanted)


def test_every_pll_keeps_to_its_limits():
    """Of Lattice's data sheet: 3.125 to 400 MHz compared, 400 to 800 MHz made."""
    for wanted in range(20, 201, 20):
        found = dividers(25, wanted)
        assert Fraction(25 * found.feedback, found.reference) == wanted
        assert 3.125 <= 25 / found.reference <= 400
        assert 400 <= wanted * found.output <= 800


def test_a_clock_that_cannot_be_made_names_those_that_can():
    with pytest.raises(ClockUnreachable, match=r"--clock 92\.8571MHz or 93\.75MHz"):
        dividers(25, 93)
    assert dividers(25, 92.8571) == dividers(25, 650 / 7)
    with pytest.raises(ClockUnreachable, match="no PLL"):
        dividers(25, 1000)


def test_bits_are_whole_numbers_of_cycles_near_enough():
    assert clocks_per_bit(100, 2_000_000) == 50
    assert clocks_per_bit(93.75, 2_000_000) == 47
    with pytest.raises(ClockUnreachable, match=r"8\.50 cycles"):
        clocks_per_bit(17, 2_000_000)
    with pytest.raises(ClockUnreachable, match=r"16 MHz at least"):
        clocks_per_bit(12, 2_000_000)


def _built(fpga, bundle, board, folder):
    """A build for a board, with one lane."""
    done = fpga("build", bundle, "--board", board, "--lanes", 1, "-o", folder)
    assert done.exit_code == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def on_board(fpga, bundle, tmp_path_factory):
    """With an ECP5."""
    return _built(fpga, bundle, "ulx3s", tmp_path_factory.mktemp("ulx3s") / "build")


@pytest.fixture(scope="module")
def on_ice40(fpga, bundle, tmp_path_factory):
    """With an iCE40."""
    return _built(fpga, bundle, "icebreaker", tmp_path_factory.mktemp("icebreaker") / "build")


def test_every_port_has_a_pin_and_every_pin_a_port(on_board):
    top = (on_board / "millstream_board.v").read_text()
    ports = set(re.findall(r"(?:input|output) wire (\w+)", top))
    constraints = (on_board / "constraints.txt").read_text()
    assert dict(re.findall(r'LOCATE COMP "(\w+)" SITE "(\w+)"', constraints)) == {
        "clock": "G2", "receive": "M1", "send": "L4", "button": "R1", "led": "B2", "high_0": "L2"
    }  # fmt: skip
    assert set(board_named("ulx3s").pins) == ports


def test_a_board_says_which_levels_its_button_and_its_led_have(on_board, on_ice40):
    """Both are the other way round on the iCEBreaker, whose makers call them BTN_N and LEDG_N."""
    tops = [(folder / "millstream_board.v").read_text() for folder in (on_board, on_ice40)]
    assert ["steady && button != 1'b1" in top for top in tops] == [True, False]
    assert ["steady && button != 1'b0" in top for top in tops] == [False, True]
    assert ["led = busy == 1'b1" in top for top in tops] == [True, False]
    assert ["led = busy == 1'b0" in top for top in tops] == [False, True]
    preferences, physical = ((f / "constraints.txt").read_text() for f in (on_board, on_ice40))
    assert 'PORT "button" IO_TYPE=LVCMOS33 PULLMODE=DOWN' in preferences
    assert physical.splitlines() == [
        "set_frequency clock 12",
        "set_io clock 35",
        "set_io -pullup yes receive 6",
        "set_io send 9",
        "set_io -pullup yes button 10",
        "set_io led 37",
    ]


def test_boards_are_listed_and_others_refused(fpga, bundle, tmp_path):
    listed = json.loads(fpga("boards", "--json").stdout)
    assert listed["ulx3s"]["part"] == "lfe5u-85f"
    assert listed["icebreaker"]["pins"] == {
        "clock": "35", "receive": "6", "send": "9", "button": "10", "led": "37"
    }  # fmt: skip
    assert "M1" in fpga("boards").stdout
    assert "icebreaker with ice40up5k" in fpga("boards").stdout

    def refused(*options):
        done = fpga("build", bundle, "-o", tmp_path / "b", *options)
        assert not (tmp_path / "b").exists()
        return done.exit_code, done.stderr

    assert refused()[0] == 2
    assert refused("--board", "ulx3s", "--part", "lfe5u-85f")[0] == 2
    code, said = refused("--board", "arty")
    assert (code, "use one of ulx3s, icebreaker" in said) == (2, True)
    assert refused("--board", "ulx3s", "--road", "da4ml")[0] == 2
    code, said = refused("--board", "ulx3s", "--clock", "93MHz")
    assert (code, "93.75MHz" in said) == (2, True)


def test_a_circuit_for_a_board_gets_its_states_with_every_frame(bundle):
    """What the simulation of a build for a board compares: the reference and the engine's model, on golden
    frames, whose states follow each other, and on random ones, whose states do not."""
    read = millstream_runtime.read(bundle)
    circuit, graph = stateless_circuit_of(read), step_graph(read)
    known = known_frames(read, circuit)
    image = compile_circuit(circuit, 4)
    chance = closed_loop.random_frames(known.words, 20, 0)
    for frames in (known, chance):
        data = engine.reset(image)
        found = [engine.frame(image, data, words) for words in frames.words]
        assert np.array_equal(found, closed_loop.golden(graph, circuit, frames))
    left = closed_loop.golden(graph, circuit, known)
    assert np.array_equal(left[:-1, 3:], known.words[1:, 5:])
    assert not known.words[0, 5:].any()


_YOSYS = '#!/bin/sh\n[ "$1" = --version ] && echo \'Yosys 9.9\' && exit\necho "$3" > top.json\n'
_NEXTPNR = """#!/bin/sh
[ "$1" = --version ] && echo 'nextpnr 9.9' && exit
grep -q 'top millstream_board' top.json || exit 7
case "$*" in *"--lpf constraints.txt"*) ;; *) exit 8 ;; esac
echo routed > routed.config
echo "Info: Max frequency for clock '\\$glbnet\\$clk': $MADE MHz (PASS at 100.00 MHz)"
echo '{"utilization": {"TRELLIS_COMB": {"used": 2833}, "DP16KD": {"used": 7}}}' > report.json
"""
_ECPPACK = '#!/bin/sh\n[ "$1" = --compress ] && tr a-z A-Z < "$2" > "$3"\n'


def test_a_board_gets_a_bitstream_when_its_circuit_is_fast_enough(fpga, on_board, tmp_path, monkeypatch):
    """Stand-ins with the tools' command lines."""
    folder = tmp_path / "copy"
    shutil.copytree(on_board, folder)
    for name, text in (("yosys", _YOSYS), ("nextpnr-ecp5", _NEXTPNR), ("ecppack", _ECPPACK)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    before = set(os.listdir(folder))
    monkeypatch.setenv("MADE", "99.5")
    slow = fpga("synth", folder)
    assert slow.exit_code == 1
    assert "makes 99.5 MHz, its clock is 100 MHz" in slow.stderr
    assert set(os.listdir(folder)) == before
    monkeypatch.setenv("MADE", "117.25")
    done = fpga("synth", folder, "--json")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["bitstream"] == "ulx3s.bit"
    assert (folder / "ulx3s.bit").read_text() == "ROUTED\n"
    assert "ulx3s.bit" in fpga("report", folder).stdout
    assert "<td>ulx3s.bit</td>" in (folder / "report.html").read_text()


@pytest.mark.slow
def test_open_tools_make_a_bitstream(fpga, on_board):
    done = fpga("synth", on_board, "--json")
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["fmax_mhz"] > 100
    assert found["multipliers"] == 1
    assert b"LFE5U-85F" in (on_board / "ulx3s.bit").read_bytes()[:200]
    assert "Derived frequency constraint of 100.0 MHz for net clk" in (on_board / "nextpnr.log").read_text()


@pytest.mark.slow
def test_open_tools_make_a_bitstream_for_an_ice40(fpga, on_ice40):
    done = fpga("synth", on_ice40, "--json")
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["fmax_mhz"] > 24
    assert (found["multipliers"], found["sprams"], found["registers"]) == (1, 1, None)
    assert found["bitstream"] == "icebreaker.bin"
    # How every bitstream of an iCE40 begins.
    assert b"\x7e\xaa\x99\x7e" in (on_ice40 / "icebreaker.bin").read_bytes()[:64]
    assert "Derived frequency constraint of 24.0 MHz for net clk" in (on_ice40 / "nextpnr.log").read_text()
