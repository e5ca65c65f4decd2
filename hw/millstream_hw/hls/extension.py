"""The layers of `firmware/millstream_layers.h` as hls4ml knows layers: one class for all, with a `kind`."""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Any, ClassVar

from hls4ml.backends import get_backend
from hls4ml.backends.template import FunctionCallTemplate, LayerConfigTemplate
from hls4ml.model.attributes import Attribute
from hls4ml.model.layers import Layer, register_layer
from hls4ml.model.types import FixedPrecisionType

from millstream_hw.hls.fixed import Fixed

BACKEND = "Vitis"
HEADER = "millstream_layers.h"
FOLDER = "nnet_utils"


class MillstreamLayer(Layer):
    """`numbers` are the constants of its template, `arrays` (integers in real numbers, type) its weights by
    name, `sums` the C++ type that adds up, or None."""

    _expected_attributes: ClassVar = [
        Attribute(name, value_type=object) for name in ("kind", "size", "numbers", "arrays")
    ]

    def initialize(self) -> None:
        self.add_output_variable([self.get_attr("size")])
        for name, (values, kind) in self.get_attr("arrays").items():
            self.add_weights_variable(
                name=name,
                var_name=name + "{index}",
                type_name=name + "{index}_t",
                precision=precision(kind),
                data=values,
            )


class _Config(LayerConfigTemplate):
    def __init__(self) -> None:
        super().__init__(MillstreamLayer)

    def format(self, node: Any) -> str:
        numbers = {"size": node.get_attr("size"), **node.get_attr("numbers")}
        lines = [f"    static const unsigned {name} = {value};" for name, value in numbers.items()]
        lines += [f"    typedef {weight.type.name} {name}_t;" for name, weight in node.weights.items()]
        sums = node.get_attr("sums")
        if sums:
            lines.append(f"    typedef {sums} sums_t;")
        return f"struct config{node.index} {{\n" + "\n".join(lines) + "\n};\n"


class _Call(FunctionCallTemplate):
    def __init__(self) -> None:
        super().__init__(MillstreamLayer, include_header=[f"{FOLDER}/{HEADER}"])

    def format(self, node: Any) -> str:
        kind, config = node.get_attr("kind"), f"config{node.index}"
        sources = [node.get_input_variable(name) for name in node.inputs]
        result = node.get_output_variable()
        weights = [weight.name for weight in node.weights.values()]
        if kind == "gather":
            types = [result.type.name, config]
            given = [each for s in sources for each in (f"&{s.name}[0]", f"{s.size()}u")]
            arguments = [result.name, *weights, *given]
        else:
            types = [*(source.type.name for source in sources), result.type.name, config]
            arguments = [*(source.name for source in sources), result.name, *weights]
        return f"millstream::{kind}<{', '.join(types)}>({', '.join(arguments)});"


def precision(kind: Fixed) -> FixedPrecisionType:
    """A type as hls4ml has it."""
    below, above = kind.modes
    return FixedPrecisionType(kind.bits, kind.bits - kind.fraction, kind.signed, below, above)


@cache
def register() -> None:
    """Tell hls4ml about the layers, once."""
    register_layer("MillstreamLayer", MillstreamLayer)
    backend = get_backend(BACKEND)
    for template in (_Config, _Call):
        backend.register_template(template)
    header = resources.files("millstream_hw.hls").joinpath(f"firmware/{HEADER}")
    backend.register_source(str(header), FOLDER)
