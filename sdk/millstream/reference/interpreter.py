"""Evaluate an ONNX model in NumPy, node by node, calls of model-local functions included."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper

from millstream.errors import DataInvalid, GraphInvalid
from millstream.gap import Gap, refuse
from millstream.graph import origin
from millstream.reference.operators import OPERATORS
from millstream.reference.precision import Operator, known

Prepared = Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]
_Key = tuple[str, str, str]
_Functions = Mapping[_Key, onnx.FunctionProto]
_Values = dict[str, np.ndarray | None]


@dataclass(frozen=True)
class _Call:
    """One node, ready to run: its function with attributes bound, and the names it reads and writes."""

    place: str
    function: Operator
    attributes: Mapping[str, Any]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def evaluate(model: onnx.ModelProto, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The graph outputs of `model` for the given graph inputs, by name.

    Raises UnsupportedOperators with every node that the reference does not define, DataInvalid when an
    input is missing, GraphInvalid when a node cannot take the arrays it gets, UnsupportedModel for a dtype
    or a training mode that the reference does not define.
    """
    return prepare(model)(inputs)


def prepare(model: onnx.ModelProto, operators: Mapping[str, Operator] = OPERATORS) -> Prepared:
    """`evaluate` for many calls: attributes and initialisers are read once. Raises UnsupportedOperators.

    `operators` may replace definitions, to see what comes of it; it names every operator all the same.
    """
    refuse({"reference": unsupported(model)})
    functions = {_key(f.domain, f.name, f.overload): f for f in model.functions}
    calls = _calls(model.graph.node, functions, {}, operators)
    constants = {item.name: _read_only(item) for item in model.graph.initializer}
    needed = [value.name for value in model.graph.input if value.name not in constants]
    wanted = [value.name for value in model.graph.output]

    def run(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        missing = [name for name in needed if name not in inputs]
        if missing:
            raise DataInvalid("graph inputs are missing", where=model.graph.name, why=", ".join(missing))
        for array in inputs.values():
            known(array.dtype)
        values = _execute(calls, {"": None, **constants, **inputs})
        return {name: _present(values, name) for name in wanted}

    return run


def unsupported(model: onnx.ModelProto) -> list[Gap]:
    """Every node that the reference does not define, in the graph and in the functions it holds."""
    local = {_key(f.domain, f.name, f.overload) for f in model.functions}
    nodes = itertools.chain(model.graph.node, *(f.node for f in model.functions))
    return [
        Gap(node.op_type, _name(node), origin(node), why)
        for node in nodes
        if _key(node.domain, node.op_type, node.overload) not in local
        for why in _obstacles(node)
    ]


def _obstacles(node: onnx.NodeProto) -> Iterator[str]:
    function = None if _domain(node.domain) else OPERATORS.get(node.op_type)
    if function is None:
        yield "the reference has no definition of it"
        return
    parameters = inspect.signature(function).parameters.values()
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters):
        return
    known = {p.name for p in parameters}
    for attribute in node.attribute:
        if attribute.name not in known:
            yield f"the reference does not define its attribute {attribute.name}"


def _domain(domain: str) -> str:
    return "" if domain == "ai.onnx" else domain


def _key(domain: str, name: str, overload: str) -> _Key:
    return _domain(domain), name, overload


def _name(node: onnx.NodeProto) -> str:
    return node.name or next((name for name in node.output if name), "")


def _calls(
    nodes: Iterable[onnx.NodeProto],
    functions: _Functions,
    bound: Mapping[str, Any],
    operators: Mapping[str, Operator],
) -> list[_Call]:
    """The nodes as calls; `bound` are the attributes of the function whose body they are."""
    calls = []
    for node in nodes:
        place = f"{node.op_type} at node {_name(node)}"
        attributes = _attributes(node.attribute, bound)
        local = functions.get(_key(node.domain, node.op_type, node.overload))
        if local is None:
            function = operators[node.op_type]
        else:
            function, attributes = _inlined(local, attributes, functions, operators), {}
        calls.append(_Call(place, function, attributes, tuple(node.input), tuple(node.output)))
    return calls


def _inlined(
    local: onnx.FunctionProto,
    attributes: Mapping[str, Any],
    functions: _Functions,
    operators: Mapping[str, Operator],
) -> Operator:
    """A model-local function as an operator: its body, with this call's attributes or their defaults."""
    bound = {**_attributes(local.attribute_proto, {}), **attributes}
    calls = _calls(local.node, functions, bound, operators)

    def operator(*arrays: np.ndarray | None) -> tuple[np.ndarray, ...]:
        # Inputs left out at the end of the call are None in the body.
        given = dict(itertools.zip_longest(local.input, arrays))
        values = _execute(calls, {"": None, **given})
        return tuple(_present(values, name) for name in local.output)

    return operator


def _attributes(protos: Iterable[onnx.AttributeProto], bound: Mapping[str, Any]) -> dict[str, Any]:
    values = {}
    for proto in protos:
        if not proto.ref_attr_name:
            values[proto.name] = _attribute(proto)
        elif proto.ref_attr_name in bound:
            values[proto.name] = bound[proto.ref_attr_name]
    return values


def _attribute(proto: onnx.AttributeProto) -> Any:
    if proto.type == onnx.AttributeProto.TENSOR:
        return _read_only(proto.t)
    if proto.type == onnx.AttributeProto.STRING:
        return proto.s.decode()
    if proto.type == onnx.AttributeProto.STRINGS:
        return [text.decode() for text in proto.strings]
    return onnx.helper.get_attribute_value(proto)


def _read_only(proto: onnx.TensorProto) -> np.ndarray:
    """A stored tensor; read-only, because results may be views of it."""
    array = onnx.numpy_helper.to_array(proto)
    known(array.dtype)
    array.flags.writeable = False
    return array


def _execute(calls: Sequence[_Call], values: _Values) -> _Values:
    # Overflow, division by zero and the like have their IEEE results; they are no reason to warn.
    with np.errstate(all="ignore"):
        for call in calls:
            values.update(zip(call.outputs, _results(call, values), strict=False))
            values[""] = None
    return values


def _results(call: _Call, values: _Values) -> list[np.ndarray]:
    try:
        operands = [values[name] for name in call.inputs]
        results = call.function(*operands, **call.attributes)
    except (ValueError, IndexError, TypeError, KeyError) as error:
        raise GraphInvalid(f"{call.place} cannot run", why=f"{type(error).__name__}: {error}") from error
    # NumPy turns arrays without axes into scalars on the way.
    return [np.asarray(result) for result in (results if isinstance(results, tuple) else (results,))]


def _present(values: _Values, name: str) -> np.ndarray:
    value = values.get(name)
    if value is None:
        raise GraphInvalid(f"no node computes {name}", why="the graph names it as an output")
    return value
