"""Steps compiled for the Relax target and opened again, through the files that a bundle would hold."""

from __future__ import annotations

from collections.abc import Sequence

from millstream.graph import StepGraph, Tensor
from millstream.targets import Compiled, Contract, relax, target
from millstream_runtime.backends import relax as run_half
from millstream_runtime.spec import ModelSpec, StateSpec, TargetSpec, TensorSpec

TARGET = target("relax")


def spec_of(graph: StepGraph) -> ModelSpec:
    """The contract of a step whose states start at zero."""
    pairs = zip(graph.states, graph.state_tensors, strict=True)
    return ModelSpec(
        "test",
        _specs(graph.inputs),
        _specs(graph.outputs),
        tuple(StateSpec(p.name, p.next_name, _shape(t), t.dtype.name, 0) for p, t in pairs),
    )


def compiled(graph: StepGraph) -> Compiled:
    """The files of a step that must have no gaps."""
    assert relax.gaps(graph, TARGET) == []
    return relax.compile(graph, TARGET, Contract(spec_of(graph), ()))


def target_of(made: Compiled) -> TargetSpec:
    """The compiled target as a manifest would name it."""
    return TargetSpec("relax", "relax", (), made.tolerance, made.memory, made.machine)


def opened(graph: StepGraph) -> run_half.RelaxStep:
    """The step on this machine."""
    made = compiled(graph)
    return run_half.open(made.files, spec_of(graph), target_of(made))


def _specs(tensors: Sequence[Tensor]) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(t.name, _shape(t), t.dtype.name) for t in tensors)


def _shape(tensor: Tensor) -> tuple[int, ...]:
    return tuple(extent or 0 for extent in tensor.shape[1:])
