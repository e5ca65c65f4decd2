"""PyTorch step -> step graph: torch.export, ONNX export, then our names, pairs and coarse functions."""

from __future__ import annotations

import ast
import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import onnx
import onnxscript.values
import torch
from torch import Tensor, nn

from millstream import coarse
from millstream.errors import TraceFailed
from millstream.graph import BATCH, OPSET, StatePair, StepGraph, build, set_origin
from millstream.protocol import INPUT, OUTPUT, VALID, Streamable, refused_mutation
from millstream.user_code import guarded, reason

_TRACING_BATCH = 2
_LARGEST_BATCH = 1 << 20
_CHATTY = ("torch.onnx", "torch.export", "torch.fx", "torch.fx.experimental", "onnxscript", "onnx_ir")
_NAME_SCOPES = "pkg.torch.onnx.name_scopes"
#: What torch.export writes in place of a module for some nodes of its decompositions.
_NO_MODULE = "_empty_nn_module_stack_from_metadata_hook"


@dataclass(frozen=True)
class Traced:
    """The step graph, and why its batch is fixed to 1 (empty when it is free)."""

    graph: StepGraph
    fixed_batch_reason: str


class _StepModule(nn.Module):
    """The step as a function of flat arguments: input, `valid` when there is look-ahead, states."""

    def __init__(self, source: Streamable) -> None:
        super().__init__()
        self.model = source.module
        self._source = source

    def forward(self, *arguments: Tensor) -> tuple[Tensor, ...]:
        source = self._source
        if not source.stateful:
            return _tuple(self.model(arguments[0]))
        extra = 2 if source.look_ahead else 1
        # Cloned, so that a step that works in place on its state leaves no mutation in the graph.
        state = {n: s.clone() for n, s in zip(source.initial, arguments[extra:], strict=True)}
        y, after = self.model.step(arguments[0], state, *arguments[1:extra])  # type: ignore[operator]
        return (*_tuple(y), *(after[name] for name in source.initial))


def trace(source: Streamable, frame: Tensor) -> Traced:
    """Trace the step of one `frame` (1, ...) to a step graph with a free batch, else with batch 1.

    Raises TraceFailed when torch cannot export it, MutatedBuffer when the trace shows hidden state.
    """
    with torch.no_grad():
        outputs = len(source.step(frame, source.initial_state(1), valid=True)[0])
    free = torch.export.Dim(BATCH, min=1, max=_LARGEST_BATCH)
    try:
        return Traced(_graph(source, _arguments(source, frame, _TRACING_BATCH), outputs, free), "")
    except TraceFailed as first:
        graph = _graph(source, _arguments(source, frame, 1), outputs, None)
        return Traced(graph, first.why.splitlines()[0])


def _arguments(source: Streamable, frame: Tensor, batch: int) -> tuple[Tensor, ...]:
    x = frame.expand(batch, *frame.shape[1:]).contiguous()
    valid = (torch.ones(batch, dtype=torch.bool),) if source.look_ahead else ()
    return (x, *valid, *source.initial_state(batch).values())


def _graph(source: Streamable, arguments: tuple[Tensor, ...], outputs: int, batch: Any) -> StepGraph:
    program = _exported(source, arguments, batch)
    inputs = [INPUT, *([VALID] if source.look_ahead else []), *source.initial]
    results = [OUTPUT] if outputs == 1 else [f"{OUTPUT}.{i}" for i in range(outputs)]
    pairs = [StatePair(name, f"{name}.next") for name in source.initial]
    names = [*results, *(pair.next_name for pair in pairs)]
    return build(_onnx(program, inputs, names), pairs, coarse.functions())


def _exported(source: Streamable, arguments: tuple[Tensor, ...], batch: Any) -> torch.export.ExportedProgram:
    shapes = (tuple({0: batch} for _ in arguments),) if batch is not None else None
    with quiet(), torch.no_grad():
        program = _attempt(
            "torch.export cannot trace the step",
            lambda: torch.export.export(_StepModule(source), arguments, dynamic_shapes=shapes),
        )
        mutated = program.run_decompositions().graph_signature.buffers_to_mutate
    if mutated:
        raise refused_mutation(sorted(name.removeprefix("model.") for name in mutated.values()))
    return program


def _onnx(program: torch.export.ExportedProgram, inputs: list[str], outputs: list[str]) -> onnx.ModelProto:
    with quiet():
        exported = _attempt(
            "the step cannot be written as ONNX",
            lambda: torch.onnx.export(
                program,
                dynamo=True,
                opset_version=OPSET,
                input_names=[_mark(name) for name in inputs],
                output_names=[_mark(name) for name in outputs],
                custom_translation_table=_translations(),
                verbose=False,
            ),
        )
    model = onnx.ModelProto()
    model.CopyFrom(exported.model_proto)
    _unmark(model.graph, [*inputs, *outputs])
    _name_batch(model)
    _set_origins(list(model.graph.node))
    return model


def _mark(name: str) -> str:
    """A name that the exporter gives to no value of its own."""
    return f"millstream:{name}"


def _unmark(graph: onnx.GraphProto, names: list[str]) -> None:
    """Give inputs and outputs their names; a value within that the exporter called the same gives way.

    A state may be called `maximum_1`, which is also what the exporter calls the second node of that kind.
    """
    renamed = {name: f"{name}:within" for name in names} | {_mark(name): name for name in names}
    for value in (*graph.input, *graph.output, *graph.initializer, *graph.value_info):
        value.name = renamed.get(value.name, value.name)
    for node in graph.node:
        for field in (node.input, node.output):
            for place, name in enumerate(field):
                field[place] = renamed.get(name, name)


def _attempt(what: str, run: Callable[[], Any]) -> Any:
    """Run a torch exporter; whatever it raises becomes TraceFailed with its first lines as the reason."""
    advice = "keep the step free of Python branches on tensor values; build shapes from x.shape[0] alone"
    return guarded(run, lambda error: TraceFailed(what, why=reason(error), fix=advice))


def _translations() -> dict[Any, Callable[..., Any]]:
    """Coarse torch operators that are loaded in this process -> nodes of our domain; one of torch's own."""
    table: dict[Any, Callable[..., Any]] = {torch.ops.aten.log_sigmoid.default: _log_sigmoid}
    for function in coarse.functions():
        packet = getattr(torch.ops.millstream, coarse.TORCH_NAMES[function.name], None)
        if packet is not None:
            opset = onnxscript.values.Opset(coarse.DOMAIN, coarse.VERSION)
            table[packet.default] = onnxscript.values.Op(opset, function.name, coarse.schema(function))
    return table


def _log_sigmoid(x: Any) -> Any:
    """-softplus(-x). The exporter writes log(sigmoid(x)), and onnxruntime's sigmoid is never under 1e-8."""
    opset = onnxscript.values.Opset("", OPSET)
    return opset.Neg(opset.Softplus(opset.Neg(x)))


def _name_batch(model: onnx.ModelProto) -> None:
    """Give the one symbolic dimension its name; a second kind is left for the checker to refuse."""
    values = (*model.graph.input, *model.graph.output)
    names = {dim.dim_param for value in values for dim in value.type.tensor_type.shape.dim if dim.dim_param}
    if len(names) == 1:
        for value in values:
            for dim in value.type.tensor_type.shape.dim:
                if dim.dim_param:
                    dim.dim_param = BATCH


def _set_origins(nodes: list[onnx.NodeProto]) -> None:
    """Give every node its module; one of the exporter's own has that of its operands, else of its readers."""
    paths = [_module_path(node) for node in nodes]
    made = {name: path for node, path in zip(nodes, paths, strict=True) for name in node.output}
    used = {name: path for node, path in zip(nodes, paths, strict=True) for name in node.input}
    for node, path in zip(nodes, paths, strict=True):
        near = [made.get(name) for name in node.input] + [used.get(name) for name in node.output]
        known = [path, *near]
        found = next((candidate for candidate in known if candidate is not None), "")
        made.update(dict.fromkeys(node.output, found))
        set_origin(node, found)


def _module_path(node: onnx.NodeProto) -> str | None:
    """The path of the submodule that a node came from, as the user would write it; None when none is told."""
    for prop in node.metadata_props:
        if prop.key == _NAME_SCOPES:
            scopes = ast.literal_eval(prop.value)
            path = next((scope for scope in reversed(scopes[:-1]) if scope), "")
            return None if path == _NO_MODULE else path.removeprefix("model").removeprefix(".")
    return None


def _tuple(y: object) -> tuple[Tensor, ...]:
    return tuple(y) if isinstance(y, (tuple, list)) else (y,)  # type: ignore[return-value]


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep the exporters' own chatter off the terminal; their errors still raise."""
    loggers = [logging.getLogger(name) for name in _CHATTY]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
