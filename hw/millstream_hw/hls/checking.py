"""What hls4ml wrote, held against what it was asked for: a name that it does not know becomes a default type
there, without a word."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from millstream_hw.errors import HeadersDiffer
from millstream_hw.hls.fixed import Fixed
from millstream_hw.hls.layers import Layer, Network, Weights
from millstream_hw.hls.strategy import Strategy
from millstream_hw.hls.written import sums

_TYPE = re.compile(r"^\s*typedef\s+(.+?)\s+(\w+);\s*$", re.MULTILINE)
_NUMBER = re.compile(r"static const \w+ (\w+) = ([\w:]+);")
_FIXED = re.compile(r"ap_(u?)fixed<(\d+),(-?\d+)(?:,AP_(\w+),AP_(\w+),0)?>$")
_ARRAY = re.compile(r"=\s*\{(.*)\}", re.DOTALL)
#: Where hls4ml leaves the functions that da4ml writes, and what it calls them.
_WRITTEN, _FUNCTION = "nnet_utils/nnet_code_gen.h", r"void dense_da_{}\(.*?\n\}}"
#: hls4ml's Dense names its sums so.
_SUMS = {"dense": "accum_t"}


@dataclass(frozen=True)
class Named:
    """What hls4ml called a layer: its index, the type of its result, and (array, type) of each weight."""

    index: int
    result: str
    weights: Mapping[str, tuple[str, str]]


def check(
    network: Network, strategies: Mapping[str, Strategy], names: Mapping[str, Named], files: Mapping[str, str]
) -> None:
    """Compare every type, template constant and weight of the written files.

    Raises HeadersDiffer naming everything that is not as the network says.
    """
    types = {name: text for text, name in _TYPE.findall(files["defines.h"])}
    found = [
        f"{layer.name}: {difference}"
        for layer in network.layers
        for difference in _differences(network, layer, strategies, names[layer.name], types, files)
    ]
    if found:
        raise HeadersDiffer(
            "hls4ml wrote something else than it was asked for",
            why="; ".join(found),
            fix="report this; the installed version of hls4ml was not tried",
        )


def _differences(
    network: Network,
    layer: Layer,
    strategies: Mapping[str, Strategy],
    named: Named,
    types: Mapping[str, str],
    files: Mapping[str, str],
) -> Iterator[str]:
    yield from _type("result", layer.result, types.get(named.result, "none"))
    strategy = strategies.get(layer.name)
    if strategy and strategy.adders:
        yield from _sums(layer, network.layer(layer.inputs[0]).result, files[_WRITTEN], named.index)
        return
    for name, weights in layer.weights.items():
        array, kind = named.weights[name]
        yield from _type(name, weights.type, types.get(kind, "none"))
        yield from _values(name, weights, files, array, _turned(layer, name, strategies))
    if layer.kind == "input":
        return
    config = _config(files["parameters.h"], named.index)
    numbers = dict(_NUMBER.findall(config))
    wanted = dict(layer.numbers)
    if layer.kind == "dense":
        wanted |= {"reuse_factor": strategies[layer.name].reuse}
    for name, value in wanted.items():
        if numbers.get(name) != str(value):
            yield f"{name} is {numbers.get(name)} instead of {value}"
    if layer.sums:
        given = {name: text for text, name in _TYPE.findall(config)}
        text = given.get(_SUMS.get(layer.kind, "sums_t"), "none")
        yield from _type("sums", layer.sums, types.get(text, text))


def _type(name: str, wanted: Fixed, text: str) -> Iterator[str]:
    match = _FIXED.match(text.replace(" ", ""))
    if match is None:
        yield f"the type of {name} is {text} instead of {wanted.cpp}"
        return
    unsigned, bits, whole, below, above = match.groups()
    modes = (below or "TRN", above or "WRAP")
    found = Fixed(int(bits), int(bits) - int(whole), not unsigned, modes == ("RND", "SAT"))
    if found != wanted or modes not in (("RND", "SAT"), ("TRN", "WRAP")):
        yield f"the type of {name} is {text} instead of {wanted.cpp}"


def _values(name: str, weights: Weights, files: Mapping[str, str], array: str, turned: bool) -> Iterator[str]:
    """Both copies of an array: the header that synthesis reads, and the text that a C++ program loads."""
    integers = weights.integers.T if turned else weights.integers
    match = _ARRAY.search(files[f"weights/{array}.h"])
    for text in (match[1] if match else "", files[f"weights/{array}.txt"]):
        values = [float(value) for value in text.split(",")] if text.strip() else []
        found = np.array(values) * 2.0**weights.type.fraction
        if not np.array_equal(found, integers.reshape(-1)):
            yield f"the values of {name} are not those of the graph"


def _sums(layer: Layer, operand: Fixed, code: str, index: int) -> Iterator[str]:
    """Adders, held against the weights and the bias that are wired into them."""
    function = re.search(_FUNCTION.format(index), code, re.DOTALL)
    if function is None:
        yield "its adders are not there"
        return
    weight, bias = (layer.weights[name].real for name in ("weight", "bias"))
    try:
        found = sums(function[0], layer.length, layer.size, operand)
    except ValueError as error:
        yield f"no sum is {error}"
        return
    if not (np.array_equal(found.matrix, weight) and np.array_equal(found.constants, bias)):
        yield "its adders do not add up to the weights of the graph"
    if found.narrow:
        yield "too narrow for its sums: " + ", ".join(found.narrow)


def _turned(layer: Layer, name: str, strategies: Mapping[str, Strategy]) -> bool:
    """hls4ml's shared Dense reads its weights transposed."""
    return layer.kind == "dense" and name == "weight" and strategies[layer.name].reuse > 1


def _config(text: str, index: int) -> str:
    """The struct of a layer's template constants."""
    match = re.search(rf"struct config{index}\b.*?\n\}};", text, re.DOTALL)
    return match[0] if match else ""
