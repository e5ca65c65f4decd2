"""Layers to hls4ml's ModelGraph and to the C++ that it writes, held against what was asked for."""

from __future__ import annotations

import contextlib
import io
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any

from hls4ml.backends import get_backend
from hls4ml.model.graph import ModelGraph

from millstream_hw.hls.checking import Named, check
from millstream_hw.hls.extension import BACKEND, register
from millstream_hw.hls.fixed import Fixed
from millstream_hw.hls.layers import Layer, Network
from millstream_hw.hls.sharing import parallel
from millstream_hw.hls.strategy import Strategy

CORE = "millstream_core"
FIRMWARE = "firmware"
_INCLUDE = re.compile(rb'^\s*#include "([^"]+)"', re.MULTILINE)


def firmware(
    network: Network, strategies: Mapping[str, Strategy], part: str, clock_mhz: float
) -> tuple[dict[str, bytes], dict[str, str]]:
    """The C++ of the core, by path below the build, and the C++ type of each input and result by layer.

    `strategies` holds that of every layer that computes. Raises HeadersDiffer when hls4ml wrote other
    types, numbers or weights than the network has.
    """
    with tempfile.TemporaryDirectory() as room, contextlib.redirect_stdout(io.StringIO()):
        graph = _graph(network, strategies, part, clock_mhz, room)
        graph.write()
        written = dict(_sources(os.path.join(room, FIRMWARE)))
    names = {layer.name: _named(graph, layer) for layer in network.layers}
    check(network, strategies, names, {path: data.decode() for path, data in written.items()})
    ports = (*network.inputs, *network.states, *network.outputs, *network.following)
    types = {name: names[name].result for name in ports}
    return {f"{FIRMWARE}/{path}": data for path, data in written.items()}, types


def _graph(
    network: Network, strategies: Mapping[str, Strategy], part: str, clock_mhz: float, folder: str
) -> ModelGraph:
    register()
    config = get_backend(BACKEND).create_initial_config(part=part, clock_period=1000 / clock_mhz)
    config |= {"Backend": BACKEND, "OutputDir": folder, "ProjectName": CORE}
    config["HLSConfig"] = {
        "Model": {"Precision": "fixed<16,16>", "ReuseFactor": 1, "Strategy": "Latency"},
        "LayerName": {layer.name: _settings(layer, strategies) for layer in network.layers},
    }
    given, results = [*network.inputs, *network.states], [*network.outputs, *network.following]
    graph = ModelGraph.from_layer_list(
        config, [_described(layer, strategies) for layer in network.layers], inputs=given, outputs=results
    )
    # One frame needs the states that the one before it leaves: its layers run one after the other, and
    # overlapping frames or sharing arrays among processes, as hls4ml's styles do, would gain nothing.
    graph.config.pipeline_style = "inline off"
    return graph


def _settings(layer: Layer, strategies: Mapping[str, Strategy]) -> dict[str, Any]:
    types = {"result": _text(layer.result)}
    if layer.kind != "dense" or layer.sums is None:
        return {"Precision": types}
    types |= {name: _text(weights.type) for name, weights in layer.weights.items()}
    strategy = strategies[layer.name]
    return {
        "Precision": types | {"accum": _text(layer.sums)},
        "ReuseFactor": strategy.reuse,
        "Strategy": strategy.name,
    }


def _text(kind: Fixed) -> str:
    below, above = kind.modes
    return f"{'' if kind.signed else 'u'}fixed<{kind.bits},{kind.bits - kind.fraction},{below},{above}>"


def _described(layer: Layer, strategies: Mapping[str, Strategy]) -> dict[str, Any]:
    """A layer in the form that `from_layer_list` takes."""
    if layer.kind == "input":
        return {"class_name": "InputLayer", "name": layer.name, "input_shape": [layer.size]}
    common = {"name": layer.name, "inputs": list(layer.inputs)}
    if layer.kind == "dense":
        arrays = {f"{name}_data": weights.real for name, weights in layer.weights.items()}
        return {"class_name": "Dense", **common, **layer.numbers, **arrays, "use_bias": True}
    side_by_side = {} if layer.kind == "gather" else {"parallel": parallel(layer, strategies[layer.name])}
    return {
        "class_name": "MillstreamLayer",
        **common,
        "kind": layer.kind,
        "size": layer.size,
        "numbers": {**layer.numbers, **side_by_side},
        "arrays": {name: (weights.real, weights.type) for name, weights in layer.weights.items()},
        "sums": layer.sums.cpp if layer.sums else "",
    }


def _named(graph: ModelGraph, layer: Layer) -> Named:
    """What hls4ml called the types and weights of a layer."""
    node = graph.graph[layer.name]
    arrays = {name: (weight.name, weight.type.name) for name, weight in node.weights.items()}
    return Named(node.index, node.get_output_variable().type.name, arrays)


def _sources(folder: str) -> Iterator[tuple[str, bytes]]:
    """The core, and of what hls4ml copies beside it the headers that are read."""
    waiting, seen = [f"{CORE}.cpp"], set()
    while waiting:
        path = waiting.pop()
        if path in seen or not os.path.isfile(os.path.join(folder, path)):
            continue
        seen.add(path)
        with open(os.path.join(folder, path), "rb") as file:
            data = file.read()
        yield path, data
        beside = os.path.dirname(path)
        for found in _INCLUDE.findall(data):
            name = found.decode()
            waiting += [name, os.path.normpath(os.path.join(beside, name))]
    for name in sorted(os.listdir(os.path.join(folder, "weights"))):
        if name.endswith(".txt"):
            with open(os.path.join(folder, "weights", name), "rb") as file:
                yield f"weights/{name}", file.read()
