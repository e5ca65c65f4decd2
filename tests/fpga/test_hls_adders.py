"""Products without a multiplier, by hls4ml and da4ml: adders against the golden model, and who gets them."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from fixed_graphs import circuit_of, fixed, gaussian, gru, recurrent, spiking, zeros
from hls_sources import DEVICE, write

from millstream_hw import circuit, closed_loop, planning
from millstream_hw.errors import BitsDiffer, HeadersDiffer
from millstream_hw.hls import convert, csim, layers, sharing
from millstream_hw.hls.adders import MOST_CONSTANTS, adders
from millstream_hw.hls.estimate import estimate
from millstream_hw.hls.strategy import Adders, Strategy
from millstream_hw.parts import part_named

CODE = "nnet_utils/nnet_code_gen.h"


@pytest.mark.slow
@pytest.mark.parametrize("make", [recurrent, spiking])
def test_the_c_simulation_of_adders_is_the_reference_until_one_constant_is_wrong(make, tmp_path):
    """Products of words, of spikes and of what a ReLU leaves; random frames with new streams now and then."""
    graph = fixed(make(), gaussian(make()))
    found = circuit.read(graph, zeros(make()))
    write(tmp_path, found, 4, available=0)
    core = (tmp_path / "firmware/millstream_core.cpp").read_text()
    assert core.count("dense_da_") == len(adders(layers.network(found))) >= 3
    frames = closed_loop.random_frames(closed_loop.quantized(found, [gaussian(make(), 100)]), 400, 1)
    wanted = closed_loop.golden(graph, found, frames)
    assert frames.resets.any()
    assert np.unique(wanted).size > 50

    def run():
        csim.compile_simulator(str(tmp_path))
        results = csim.simulate(str(tmp_path), frames.words, frames.resets, wanted.shape[1])
        closed_loop.compare("the C simulation", wanted, results)

    run()
    code = tmp_path / "firmware" / CODE
    code.write_text(_planted(code.read_text(), "- bit_shift", "+ bit_shift"))
    with pytest.raises(BitsDiffer, match="the C simulation"):
        run()


def _planted(code: str, old: str, new: str) -> str:
    """The first place among the adders."""
    at = code.index(old, code.index("void dense_da_"))
    return code[:at] + new + code[at + len(old) :]


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("- bit_shift", "+ bit_shift", "its adders do not add up to the weights of the graph"),
        ("bit_shift<-2>", "bit_shift<-3>", "its adders do not add up to the weights of the graph"),
        ("model_inp[1]", "model_inp[0]", "its adders do not add up to the weights of the graph"),
        ("model_out[1] = ", "// ", "its adders do not add up to the weights of the graph"),
        ("ap_fixed<17,", "ap_fixed<16,", r"too narrow for its sums: \d+"),
        ("> v2 = ", "> v2 = 3 * ", r"no sum is 3 \* model_inp\[2\]"),
        ("dense_da_3(", "dense_3(", "its adders are not there"),
    ],
)
def test_adders_that_are_not_those_of_the_graph_are_caught_before_simulation(old, new, told, monkeypatch):
    sources = convert._sources

    def planted(folder):
        for path, data in sources(folder):
            yield path, _planted(data.decode(), old, new).encode() if path == CODE else data

    network = layers.network(circuit_of(recurrent()))
    strategies = sharing.mixed(network, 1, adders(network), 0)
    convert.firmware(network, strategies, DEVICE, 200)
    monkeypatch.setattr(convert, "_sources", planted)
    with pytest.raises(HeadersDiffer, match=f"drive_fixed: {told}"):
        convert.firmware(network, strategies, DEVICE, 200)


def test_a_result_whose_type_is_too_narrow_is_caught(monkeypatch):
    sources = convert._sources

    def planted(folder):
        for path, data in sources(folder):
            narrow = re.sub(rb"(model_out\[0\] = ap_fixed<)\d+,(\d+)", rb"\g<1>\2,\2", data)
            yield path, narrow if path == CODE else data

    network = layers.network(circuit_of(recurrent()))
    monkeypatch.setattr(convert, "_sources", planted)
    with pytest.raises(HeadersDiffer, match="drive_fixed: too narrow for its sums: result 0"):
        convert.firmware(network, sharing.mixed(network, 1, adders(network), 0), DEVICE, 200)


def test_a_plan_counts_the_adders_that_hls4ml_gets(tmp_path):
    network = layers.network(circuit_of(recurrent()))
    wired = adders(network)
    graph = convert._graph(network, sharing.mixed(network, 1, wired, 0), DEVICE, 200, str(tmp_path))
    costs = {name: graph.graph[name].get_attr("da_kernel_cost") for name in wired}
    assert costs == {name: each.tables for name, each in wired.items()}
    graph.write()
    levels = re.findall(r"; // (\d+)\.0", (tmp_path / "firmware" / CODE).read_text())
    assert max(map(int, levels)) == max(each.levels for each in wired.values())


def test_adders_are_taken_where_a_multiplier_is_saved_for_the_least_logic_until_there_are_enough():
    network = layers.network(circuit_of(recurrent()))
    shared = sharing.shared(network, 1)
    all_of_them = sum(sharing.multipliers(network.layer(name), each) for name, each in shared.items())
    products = {name: network.layer(name).products for name in ("drive_fixed", "read_fixed", "skip_fixed")}
    prices = dict(zip(products, (9, 5, 7), strict=True))
    offered = {
        name: Adders(sharing.adding(network.layer(name), shared[name]) + prices[name] * count, 5)
        for name, count in products.items()
    }

    def taken(lacking: int) -> set[str]:
        found = sharing.mixed(network, 1, offered, all_of_them - lacking)
        assert {
            name for name, each in found.items() if each.adders is None
        } | products.keys() == shared.keys()
        return {name for name, each in found.items() if each.adders}

    assert taken(0) == set()
    assert taken(1) == taken(products["read_fixed"]) == {"read_fixed"}
    assert taken(products["read_fixed"] + 1) == {"read_fixed", "skip_fixed"}
    assert taken(all_of_them) == set(products)


def test_adders_that_are_no_more_logic_than_multipliers_need_are_taken_though_there_are_enough():
    network = layers.network(circuit_of(recurrent()))
    around = sharing.adding(network.layer("read_fixed"), Strategy(1))
    for tables, strategy in ((around, "distributed_arithmetic"), (around + 1, "latency")):
        found = sharing.mixed(network, 1, {"read_fixed": Adders(tables, 5)}, 10_000)
        assert found["read_fixed"].name == strategy
    # Shared multipliers have fewer sums around them.
    assert sharing.mixed(network, 5, {"read_fixed": Adders(around, 5)}, 10_000)["read_fixed"].reuse == 11


def test_a_part_with_few_multipliers_gets_adders_and_a_faster_circuit():
    found = circuit_of(recurrent())
    network, part = layers.network(found), part_named("xc7a35t")
    plan = planning.plan(found, part, "hls4ml")
    told = {share.layer: share for share in plan.shares}
    assert {share.strategy for share in told.values()} == {"latency", "distributed arithmetic"}
    made_of_adders = [share for share in told.values() if share.strategy != "latency"]
    assert all(share.multipliers == 0 and share.words for share in made_of_adders)
    assert plan.fits
    assert plan.estimate.multipliers == sum(share.multipliers for share in told.values())
    options = (estimate(network, sharing.shared(network, target), part) for target in sharing.TARGETS)
    shared = next(each for each in options if not each.overflows(part))
    assert plan.estimate.cycles < shared.cycles
    assert plan.estimate.tables > shared.tables
    # Without logic to spare multipliers are shared, as before.
    full = replace(part, tables=shared.tables)
    assert planning.plan(found, full, "hls4ml").estimate == shared


def test_large_products_and_those_with_bits_too_fine_for_da4ml_keep_multipliers():
    network = layers.network(circuit_of(gru()))
    layer = network.layer("given_fixed")
    assert "given_fixed" in adders(network)
    wide = replace(layer, size=MOST_CONSTANTS // layer.length + 1)
    weight = layer.weights["weight"]
    fine = replace(weight, type=replace(weight.type, fraction=33))
    for other in (
        wide,
        replace(layer, weights={**layer.weights, "weight": fine}),
        replace(layer, kind="rows"),
    ):
        rest = tuple(other if each is layer else each for each in network.layers)
        assert "given_fixed" not in adders(replace(network, layers=rest))


def test_plan_and_report_tell_the_strategy_of_every_layer(fpga, bundle, tmp_path):
    planned = json.loads(fpga("plan", bundle, "--part", "xc7z020", "--json").stdout)["roads"]
    told = {layer["strategy"] for layer in planned["hls4ml"]["layers"]}
    assert "distributed arithmetic" in told
    assert any(each.startswith("resource, reuse ") for each in told)
    assert {layer["strategy"] for layer in planned["engine"]["layers"]} == {""}
    shown = fpga("plan", bundle, "--part", "xc7z020").stdout
    assert "distributed arithmetic: " in shown
    folder = tmp_path / "build"
    done = fpga("build", bundle, "--part", "xc7z020", "--road", "hls4ml", "-o", folder)
    assert done.exit_code == 0, done.stderr
    rows = json.loads(fpga("report", folder, "--json").stdout)["layers"]
    assert rows == planned["hls4ml"]["layers"]
    assert "<td>distributed arithmetic</td>" in (folder / "report.html").read_text()
