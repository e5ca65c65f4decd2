"""`millstream fpga` from bundle to report; the circuit runs in Verilator."""

import json
import os
import shutil
import stat
import time
from dataclasses import replace

import numpy as np
import pytest
from small_models import GatedRecurrence, seeded
from typer.testing import CliRunner

import millstream
from millstream.cli.app import app
from millstream_hw import build as builds
from millstream_hw import closed_loop, verilator
from millstream_hw.engine.compile import compile_circuit
from millstream_hw.errors import ToolFailed
from millstream_hw.parts import PARTS, part_named
from millstream_hw.planning import circuit_of, step_graph
from millstream_hw.simulation import simulator


def _document(result, code=0):
    assert result.exit_code == code, result.stderr
    return json.loads(result.stdout)


def test_a_plan_tells_what_fits_before_anything_is_built(fpga, bundle):
    found = _document(fpga("plan", bundle, "--part", "lfe5u-85f", "--json"))
    assert found["fits"]
    assert found["roads"]["engine"]["lanes"] == 32
    assert found["saturated"] == {}
    assert "fits" in fpga("plan", bundle, "--part", "lfe5u-85f").stdout


def test_a_model_too_large_is_refused_at_once_and_by_name(fpga, bundle, monkeypatch, tmp_path):
    """On an iCE40 with less of everything."""
    tiny = replace(part_named("ice40up5k"), name="tiny", blocks=9, sprams=0)
    monkeypatch.setitem(PARTS, "tiny", tiny)
    begun = time.monotonic()
    planned = fpga("plan", bundle, "--part", "tiny")
    assert planned.exit_code == 1
    assert "block RAMs, tiny has 9" in planned.stdout
    refused = fpga("build", bundle, "--part", "tiny", "-o", tmp_path / "small")
    assert refused.exit_code == 1
    assert "block RAMs, tiny has 9" in refused.stderr
    lanes = fpga("build", bundle, "--part", "ice40up5k", "--lanes", 16, "-o", tmp_path / "small")
    assert "16 multipliers, ice40up5k has 8" in lanes.stderr
    assert "16 SPRAMs, ice40up5k has 4" in lanes.stderr
    assert not (tmp_path / "small").exists()
    unrolled = fpga("build", bundle, "--part", "lfe5u-85f", "--road", "da4ml", "-o", tmp_path / "small")
    assert unrolled.exit_code == 4
    assert "constants would be wired" in unrolled.stderr
    assert time.monotonic() - begun < 20


def test_weights_and_tables_of_an_ice40_wait_to_be_loaded(fpga, bundle, tmp_path):
    """int16 on 4 lanes: 64 bits a word, the weights of every lane side by side, 4 entries of a table."""
    folder = tmp_path / "ice"
    assert _document(fpga("build", bundle, "--part", "ice40up5k", "-o", folder, "--json"))["lanes"] == 4
    made = builds.read(str(folder))
    assert {"load.bin", "constants_spram.v"} <= set(made.sources)
    assert not {"weights.hex", "tables.hex", "constants_block.v"} & set(made.sources)
    image = compile_circuit(circuit_of(made.bundle()), 4)
    words = np.frombuffer((folder / "load.bin").read_bytes(), "<i2")
    assert np.array_equal(words[: image.weights.size], image.weights.reshape(-1))
    assert np.array_equal(words[image.weights.size :], image.tables)
    assert f".LOAD_WORDS({len(words)})" in (folder / "millstream_top.v").read_text()
    planned = _document(fpga("plan", bundle, "--part", "ice40up5k", "--json"))["roads"]["engine"]
    assert (planned["sprams"], planned["blocks"]) == (4, made.estimate.blocks)


def test_a_float_bundle_is_refused(fpga, tmp_path):
    x = np.zeros((2, 12, 5), np.float32) + 0.1
    millstream.export(seeded(GatedRecurrence), x, target=()).save(tmp_path / "float.mill")
    result = fpga("plan", tmp_path / "float.mill", "--part", "lfe5u-85f")
    assert result.exit_code == 4
    assert "--quantize fixed16" in result.stderr


def test_the_doctor_knows_the_tools_and_where_to_get_them(tmp_path, monkeypatch):
    """One that stands on PATH is found; the vendor's is told to be missing."""
    (tmp_path / "nextpnr-ice40").write_text("#!/bin/sh\n")
    (tmp_path / "nextpnr-ice40").chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    found = _document(CliRunner().invoke(app, ["doctor", "--json"]))["fpga tools"]
    assert found["nextpnr-ice40"] == {"path": str(tmp_path / "nextpnr-ice40"), "fix": ""}
    assert found["verilator"]["path"]
    assert found["vitis"]["path"] == ""
    assert "AMD" in found["vitis"]["fix"]
    assert "nextpnr-ice40" in CliRunner().invoke(app, ["doctor"]).stdout


def test_a_part_or_a_clock_that_does_not_exist_is_a_usage_error(fpga, bundle, tmp_path):
    assert "lfe5u-85f" in fpga("plan", bundle, "--part", "z80").stderr
    assert fpga("plan", bundle, "--part", "z80").exit_code == 2
    assert fpga("plan", bundle, "--part", "lfe5u-85f", "--clock", "fast").exit_code == 2
    options = ("--part", "lfe5u-85f", "-o", tmp_path / "wrong")
    assert fpga("build", bundle, *options, "--road", "dirt").exit_code == 2
    assert fpga("build", bundle, *options, "--road", "da4ml", "--lanes", 2).exit_code == 2


def test_the_same_build_is_made_once_and_another_takes_its_place(fpga, bundle, tmp_path):
    options = ("--part", "lfe5u-25f", "-o", tmp_path / "b", "--json")
    assert _document(fpga("build", bundle, *options, "--lanes", 2))["new"]
    assert not _document(fpga("build", bundle, *options, "--lanes", 2))["new"]
    assert _document(fpga("build", bundle, *options, "--lanes", 1))["lanes"] == 1
    assert os.listdir(tmp_path) == ["b"]


def test_a_folder_that_is_no_build_is_left_alone(fpga, bundle, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    result = fpga("build", bundle, "--part", "lfe5u-25f", "-o", tmp_path)
    assert result.exit_code == 2
    assert (tmp_path / "thesis.txt").read_text() == "years of work"
    assert fpga("sim", tmp_path).exit_code == 2


@pytest.mark.slow
def test_the_circuit_is_the_reference_bit_for_bit_in_verilator(fpga, built):
    """Golden and random frames, resets in the middle of frames, ports that stall; then the report."""
    done = _document(fpga("sim", built, "--frames", 300, "--json"))
    assert done["random_frames"] == 300
    assert done["resets"] > 0
    made = builds.read(str(built))
    assert done["cycles"] == made.estimate.cycles
    rows = _document(fpga("report", built, "--json"))
    assert rows["cycles a frame"]["simulated"] == rows["cycles a frame"]["estimated"]
    assert rows["clock, MHz"]["synthesized"] == "-"
    page = (built / "report.html").read_text()
    assert f"{done['cycles']:,}" in page
    # Layer by layer: nothing of a frame is lost, and the largest product has its place in the model.
    assert sum(layer["cycles"] for layer in rows["layers"]) == done["cycles"]
    largest = max(rows["layers"], key=lambda layer: layer["cycles"])
    assert (largest["kind"], largest["words"], largest["multipliers"]) == ("product", 37 * 111, 5)
    assert all(f"<td>{layer['layer']}</td>" in page for layer in rows["layers"])


@pytest.mark.slow
def test_a_width_that_is_too_small_is_caught(fpga, built, tmp_path):
    """One bit too few in every sum, planted in the Verilog."""
    folder = tmp_path / "narrow"
    shutil.copytree(built, folder)
    shutil.rmtree(folder / "simulator", ignore_errors=True)
    top = folder / "millstream_top.v"
    text = top.read_text()
    start = text.index(".SUM(") + 5
    end = text.index(")", start)
    top.write_text(f"{text[:start]}27{text[end:]}")
    result = fpga("sim", folder, "--frames", 50)
    assert result.exit_code == 1
    assert "differ in" in result.stderr
    assert not (folder / "simulation.json").exists()


@pytest.mark.slow
def test_a_circuit_that_never_answers_is_told(built):
    """More words are asked for than a frame has."""
    made = builds.read(str(built))
    circuit = circuit_of(made.bundle())
    frames = closed_loop.random_frames(np.zeros((2, 5)), 2, 0)
    wanted = closed_loop.golden(step_graph(made.bundle()), circuit, frames)
    folder = simulator(made)
    right = verilator.simulate(folder, frames.words, frames.resets, 3)
    assert np.array_equal(right.results, wanted)
    with pytest.raises(ToolFailed, match="marked the wrong word"):
        verilator.simulate(folder, frames.words, frames.resets, 4)


_YOSYS = "#!/bin/sh\n[ \"$1\" = --version ] && echo 'Yosys 9.9' && exit\necho '{}' > top.json\n"
_NEXTPNR = """#!/bin/sh
[ "$1" = --version ] && echo 'nextpnr 9.9' && exit
touch routed.config
cat <<'END'
Info: Max frequency for clock '$glbnet$clk$TRELLIS_IO_IN': 88.10 MHz (FAIL at 100.00 MHz)
Info: Max frequency for clock '$glbnet$clk$TRELLIS_IO_IN': 117.25 MHz (PASS at 100.00 MHz)
END
cat > report.json <<'END'
{"utilization": {"TRELLIS_COMB": {"used": 2833, "available": 83640}, "DP16KD": {"used": 7, "available": 208},
 "TRELLIS_FF": {"used": 1900, "available": 83640}, "MULT18X18D": {"used": 5, "available": 156}}}
END
"""


def test_reports_of_yosys_and_nextpnr_are_read_and_kept(fpga, built, tmp_path, monkeypatch):
    """Stand-ins with the tools' command line and reports; the table of docs/fpga.md comes from the tools."""
    folder = tmp_path / "copy"
    shutil.copytree(built, folder)
    for name, text in (("yosys", _YOSYS), ("nextpnr-ecp5", _NEXTPNR)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    done = _document(fpga("synth", folder, "--json"))
    assert done["fmax_mhz"] == 117.25
    assert (done["tables"], done["registers"], done["multipliers"], done["blocks"]) == (2833, 1900, 5, 7)
    assert done["tools"] == ["Yosys 9.9", "nextpnr 9.9"]
    (tmp_path / "yosys").write_text("#!/bin/sh\nexit 1\n")
    assert _document(fpga("synth", folder, "--json")) == done
    (folder / "synthesis.json").unlink()
    failed = fpga("synth", folder)
    assert failed.exit_code == 1
    assert "yosys ended with 1" in failed.stderr
    assert not [name for name in os.listdir(folder) if name.startswith(".synthesis")]
