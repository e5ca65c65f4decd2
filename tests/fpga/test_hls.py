"""The road through hls4ml: its C++ against the golden model, and what it is not trusted with."""

import json
import os
import shutil
import stat
from pathlib import Path

import numpy as np
import pytest
from fixed_graphs import (
    attention,
    circuit_of,
    delta,
    fixed,
    gaussian,
    gru,
    lstm,
    recurrent,
    spiking,
    window,
    zeros,
)
from hls_sources import DEVICE, write

from millstream.errors import UnsupportedOperators
from millstream_hw import build as builds
from millstream_hw import circuit, closed_loop, planning
from millstream_hw.circuit import Add, Circuit, Contract, Operation, Port, Product, Rounding
from millstream_hw.errors import HeadersDiffer, ToolFailed
from millstream_hw.hls import convert, csim, layers, sharing, vitis
from millstream_hw.parts import part_named


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "target"),
    [(attention, 4), (recurrent, 20), (lstm, 6), (window, 3), (delta, 4), (spiking, 2)],
)
def test_the_c_simulation_is_the_reference_bit_for_bit(make, target, tmp_path):
    """Random frames that saturate, with new streams now and then; multipliers of one product and of many."""
    graph = fixed(make(), gaussian(make()))
    found = circuit.read(graph, zeros(make()))
    write(tmp_path, found, target)
    csim.compile_simulator(str(tmp_path))
    frames = closed_loop.random_frames(closed_loop.quantized(found, [gaussian(make(), 100)]), 400, 1)
    wanted = closed_loop.golden(graph, found, frames)
    assert frames.resets.any()
    # Spikes give fewer sums than numbers do.
    assert np.unique(wanted).size > 50
    results = csim.simulate(str(tmp_path), frames.words, frames.resets, wanted.shape[1])
    closed_loop.compare("the C simulation", wanted, results)
    with pytest.raises(ToolFailed, match="marked the wrong one"):
        csim.simulate(str(tmp_path), frames.words, frames.resets, wanted.shape[1] + 1)


@pytest.fixture(scope="module")
def hls_build(fpga, bundle, tmp_path_factory) -> Path:
    """The GRU of 37 by hls4ml, simulated."""
    folder = tmp_path_factory.mktemp("hls") / "build"
    made = fpga("build", bundle, "--part", "xcku5p", "--road", "hls4ml", "--clock", "250MHz", "-o", folder)
    assert made.exit_code == 0, made.stderr
    done = fpga("sim", folder, "--frames", 500, "--json")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["random_frames"] == 500
    assert json.loads(done.stdout)["cycles"] is None
    return folder


@pytest.mark.slow
def test_a_width_that_is_too_small_is_caught_in_simulation(fpga, hls_build, tmp_path):
    """One bit too few in the sums of one layer, planted in the header."""
    folder = tmp_path / "narrow"
    shutil.copytree(hls_build, folder, ignore=shutil.ignore_patterns("simulator", "simulation.json"))
    header = folder / "firmware/defines.h"
    text = header.read_text()
    at = text.index("_accum_t")
    begin = text.rindex("ap_fixed<", 0, at)
    bits, whole = text[begin + 9 : text.index(">", begin)].split(",")
    narrow = f"ap_fixed<{int(bits) - 5},{int(whole) - 5}>"
    header.write_text(text[:begin] + narrow + text[text.index(">", begin) + 1 :])
    result = fpga("sim", folder, "--frames", 100)
    assert result.exit_code == 1
    assert "differ in" in result.stderr
    assert not (folder / "simulation.json").exists()


@pytest.mark.parametrize("lost", ["accum", "bias", "weight", "result"])
def test_a_type_that_hls4ml_does_not_take_is_caught_in_its_headers(lost, monkeypatch):
    """hls4ml falls back to a default type when a key is missing or misspelled."""
    settings = convert._settings

    def misspelled(layer, strategies):
        found = settings(layer, strategies)
        kinds = found["Precision"]
        return {**found, "Precision": {name + "x" * (name == lost): kind for name, kind in kinds.items()}}

    monkeypatch.setattr(convert, "_settings", misspelled)
    network = layers.network(circuit_of(gru()))
    role = "sums" if lost == "accum" else lost
    with pytest.raises(HeadersDiffer, match=f"given_fixed: the type of {role} is .* instead of") as caught:
        convert.firmware(network, sharing.shared(network, 1), DEVICE, 200)
    # All at once: every layer of which a type was lost.
    assert f"output_fixed: the type of {role}" in str(caught.value)


def test_weights_that_are_not_those_of_the_graph_are_caught(monkeypatch):
    described = convert._described

    def halved(layer, strategies):
        found = described(layer, strategies)
        return found | ({"weight_data": found["weight_data"] / 2} if layer.kind == "dense" else {})

    monkeypatch.setattr(convert, "_described", halved)
    network = layers.network(circuit_of(gru()))
    with pytest.raises(HeadersDiffer, match="given_fixed: the values of weight are not those of the graph"):
        convert.firmware(network, sharing.shared(network, 1), DEVICE, 200)


def test_everything_that_no_layer_computes_is_refused_at_once_with_its_origin():
    port = Port("x", "x", (4,), 0)
    rounding = Rounding(70, -(1 << 15), (1 << 15) - 1)
    product = Product("x", np.ones((4, 4), np.int16), np.zeros(4, np.int64))
    operations = (
        Operation("deep", (4,), product, rounding, "encoder.project"),
        Operation("low", (4,), Add("deep", 1, "x", 1), Rounding(0, -5, 5), "encoder.clip"),
        Operation("read", (4,), Contract("turn", "low"), Rounding(0, 0, (1 << 15) - 1), "encoder.turn"),
    )
    constants = {"turn": np.eye(4, dtype=np.int16)}
    found = Circuit((port,), (), operations, (Port("read", "y", (4,), 0),), constants, None)
    with pytest.raises(UnsupportedOperators) as caught:
        planning.fitting(found, part_named("xcku5p"), "hls4ml")
    for told in ("70 bits", "-5 and 5", "constant turn", "encoder.project", "encoder.clip", "encoder.turn"):
        assert told in str(caught.value)


def test_a_part_without_an_hls_tool_is_refused(fpga, bundle):
    planned = fpga("plan", bundle, "--part", "lfe5u-85f", "--json")
    assert "no HLS tool" in json.loads(planned.stdout)["roads"]["hls4ml"]["why not"][0]
    refused = fpga("build", bundle, "--part", "lfe5u-85f", "--road", "hls4ml", "-o", "/nowhere")
    assert refused.exit_code == 4
    assert "no HLS tool" in refused.stderr


def test_multipliers_are_shared_until_the_part_has_enough():
    network = layers.network(circuit_of(recurrent()))
    for target in (1, 2, 5, 16, 1 << 16):
        for name, strategy in sharing.shared(network, target).items():
            layer, factor = network.layer(name), strategy.reuse
            if layer.kind == "dense":
                # What hls4ml's Dense can do: divisors of its inputs, or whole outputs one after the other.
                assert layer.products % factor == 0
                assert layer.length % factor == 0 or factor % layer.length == 0
            assert (
                factor >= target
                or factor == max(layer.size * max(layer.length, 1), 1)
                or (layer.kind != "dense" and factor == layer.size)
            )
    cell = circuit_of(gru())
    large, small = (planning.plan(cell, part_named(name), "hls4ml") for name in ("xcku5p", "xc7a35t"))
    assert large.estimate.multipliers > small.estimate.multipliers
    assert small.estimate.multipliers <= part_named("xc7a35t").multipliers
    assert large.estimate.cycles < small.estimate.cycles


_REPORT = """<?xml version="1.0"?>
<profile>
<ReportVersion><Version>2024.1</Version></ReportVersion>
<UserAssignments><Part>xcku5p-ffvb676-2-e</Part><TargetClockPeriod>4.00</TargetClockPeriod></UserAssignments>
<PerformanceEstimates>
  <SummaryOfTimingAnalysis><unit>ns</unit><EstimatedClockPeriod>3.125</EstimatedClockPeriod>
  </SummaryOfTimingAnalysis>
  <SummaryOfOverallLatency><Best-caseLatency>310</Best-caseLatency>
    <Worst-caseLatency>320</Worst-caseLatency><Interval-min>321</Interval-min></SummaryOfOverallLatency>
</PerformanceEstimates>
<AreaEstimates><Resources><BRAM_18K>12</BRAM_18K><DSP>640</DSP><FF>30100</FF><LUT>41000</LUT><URAM>0</URAM>
</Resources></AreaEstimates>
</profile>
"""

#: Takes the tool's command line, runs the build's C simulation for the circuit, and leaves a report.
_VITIS = """#!/bin/sh
[ "$*" = "--mode hls --tcl vitis.tcl" ] || exit 9
grep -q 'set_part {xcku5p-ffvb676-2-e}' vitis.tcl && grep -q 'create_clock -period 4 ' vitis.tcl || exit 8
../simulator/simulator $MILLSTREAM_FRAMES schedule.bin results.bin || exit 7
mkdir -p vitis/solution/syn/report
cp "$(dirname "$0")/report.xml" vitis/solution/syn/report/millstream_top_csynth.xml
"""


@pytest.mark.slow
def test_vitis_is_called_as_documented_and_its_report_is_read(fpga, hls_build, tmp_path, monkeypatch):
    """A stand-in with the tool's command line and report: no vendor tool is at hand."""
    (tmp_path / "report.xml").write_text(_REPORT)
    (tmp_path / "vitis-run").write_text(_VITIS)
    (tmp_path / "vitis-run").chmod(stat.S_IRWXU)
    folder = tmp_path / "build"
    shutil.copytree(hls_build, folder)
    missing = fpga("synth", folder)
    assert missing.exit_code == 3
    assert "Vitis" in missing.stderr
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    done = json.loads(fpga("synth", folder, "--json").stdout)
    found = [done[name] for name in ("tables", "registers", "multipliers", "blocks", "fmax_mhz", "cycles")]
    assert found == [41000, 30100, 640, 12, 320.0, 320]
    assert done["tools"] == ["Vitis HLS 2024.1"]
    rows = json.loads(fpga("report", folder, "--json").stdout)
    assert rows["us a frame at that clock"]["synthesized"] == "1.0"
    assert rows["cycles a frame"]["simulated"] == "-"
    told = rows["layers"]
    assert sum(layer["multipliers"] for layer in told) == builds.read(str(folder)).estimate.multipliers
    assert {layer["kind"] for layer in told} == {"dense", "add", "multiply", "table"}
    assert not [name for name in os.listdir(folder) if name.startswith(".synthesis")]


def test_a_report_without_a_figure_is_told(tmp_path):
    report = tmp_path / "report.xml"
    report.write_text(_REPORT.replace("<DSP>640</DSP>", ""))
    with pytest.raises(ToolFailed, match="DSP"):
        vitis.read(str(report))
    report.write_text(_REPORT.replace("<Worst-caseLatency>320", "<Worst-caseLatency>undef"))
    with pytest.raises(ToolFailed, match="undef"):
        vitis.read(str(report))
