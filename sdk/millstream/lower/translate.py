"""Step graph -> draft: every ONNX node becomes views and stages, nothing is fused yet."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import onnx
import onnx.defs
import onnx.helper

from millstream.fold import single_stream
from millstream.gap import Gap
from millstream.graph import OPSET, StepGraph, attributes, initializers, origin, tensor
from millstream.lower.builder import Builder, Node, Untranslatable
from millstream.lower.draft import Draft
from millstream.lower.operators import OPERATORS, REFUSED
from millstream.lower.view import View
from millstream_runtime.program import DTYPES

#: What may take or give a float16.
_CASTS = ("Cast", "CastLike")


@dataclass(frozen=True)
class Translation:
    """The draft, and what could not be translated; the draft is only complete without gaps."""

    draft: Draft
    gaps: tuple[Gap, ...]


def translate(graph: StepGraph) -> Translation:
    """Translate one stream's step."""
    return _Translator(StepGraph(single_stream(graph))).run()


class _Translator:
    def __init__(self, graph: StepGraph) -> None:
        self.graph = graph
        self.body = graph.model.graph
        self.builder = Builder()
        self.known = dict(initializers(graph.model))
        self.views: dict[str, View] = {}
        self.gaps: list[Gap] = []

    def run(self) -> Translation:
        self._declare_inputs()
        self._declare_outputs()
        for node in self.body.node:
            self._node(node)
        if not self.gaps:
            self._store_outputs()
        draft = Draft(tuple(self.builder.buffers), tuple(self.builder.stages), self.builder.arrays)
        return Translation(draft, tuple(self.gaps))

    def _declare_inputs(self) -> None:
        states = {pair.name for pair in self.graph.states}
        for value in map(tensor, self.body.input):
            role = "state" if value.name in states else "input"
            self._declare(value.name, role, value.dtype, value.shape)

    def _declare_outputs(self) -> None:
        states = {pair.next_name for pair in self.graph.states}
        for value in map(tensor, self.body.output):
            role = "next_state" if value.name in states else "output"
            self._declare(_result(value.name), role, value.dtype, value.shape)

    def _declare(self, name: str, role: str, dtype: np.dtype, shape: tuple[int | None, ...]) -> None:
        try:
            self.views[name] = self.builder.declare(name, role, str(dtype), [n or 0 for n in shape])
        except Untranslatable as error:
            self.gaps.append(Gap(role, name, "", str(error), error.help))

    def _node(self, node: onnx.NodeProto) -> None:
        where = origin(node)
        self.builder.origin = f"{where or node.name} {node.op_type}"
        try:
            results = self._results(node)
        except Untranslatable as error:
            self.gaps.append(Gap(node.op_type, node.name, where, str(error), error.help))
            self._stand_in(node)
            return
        if results is not None:
            named = zip(node.output, results, strict=False)
            self.views.update((name, view) for name, view in named if name)

    def _stand_in(self, node: onnx.NodeProto) -> None:
        """Buffers for what a refused node would compute, so that the nodes behind it are looked at too."""
        for value in self.body.value_info:
            if value.name in node.output:
                known = tensor(value)
                if all(known.shape) and str(known.dtype) in DTYPES:
                    self._declare(value.name, "scratch", known.dtype, known.shape)

    def _results(self, node: onnx.NodeProto) -> list[View] | None:
        """The node's outputs; None when an operand is missing because of an earlier gap."""
        function = OPERATORS.get(node.op_type) if node.domain in ("", "ai.onnx") else None
        if function is None:
            raise Untranslatable(*REFUSED.get(node.op_type, ("the operator is not lowered",)))
        _check_attributes(node)
        if any(name and not self._available(name) for name in node.input):
            return None
        operands = self._operands(node)
        _check_dtypes(node, operands.inputs)
        found = function(self.builder, operands)
        results = found if isinstance(found, list) else [found]
        _check_dtypes(node, results)
        return results

    def _available(self, name: str) -> bool:
        return name in self.views or name in self.known

    def _operands(self, node: onnx.NodeProto) -> Node:
        return Node(
            operator=node.op_type,
            inputs=tuple(self._view(name) if name else None for name in node.input),
            constants=tuple(self.known.get(name) for name in node.input),
            attributes=attributes(node),
            outputs=sum(1 for name in node.output if name),
        )

    def _view(self, name: str) -> View:
        if name not in self.views:
            self.views[name] = self.builder.constant(self.known[name])
        return self.views[name]

    def _store_outputs(self) -> None:
        for value in self.body.output:
            self.builder.origin = f"output {value.name}"
            target = self.views[_result(value.name)]
            # ONNX lets a graph declare a scalar where its nodes compute one element of another rank.
            self.builder.copy(self.builder.reshape(self._view(value.name), target.shape), target)


def _check_attributes(node: onnx.NodeProto) -> None:
    """An attribute of another opset would be passed over, and the result would be wrong."""
    if not onnx.defs.has(node.op_type, OPSET):
        return
    known = onnx.defs.get_schema(node.op_type, OPSET).attributes
    for attribute in node.attribute:
        if attribute.name not in known:
            remedy = f"convert the model to opset {OPSET}"
            raise Untranslatable(f"the attribute {attribute.name} is not of opset {OPSET}", remedy)


def _check_dtypes(node: onnx.NodeProto, values: Iterable[View | None]) -> None:
    """A program loads and stores a float16, and computes with none."""
    if node.op_type not in _CASTS and any(value and value.dtype == "float16" for value in values):
        raise Untranslatable("dtype float16 is not lowered", "cast to float32 in the model")


def _result(name: str) -> str:
    """Buffer names of results carry a mark, so that they never meet the name of an input."""
    return f"{name} (result)"
