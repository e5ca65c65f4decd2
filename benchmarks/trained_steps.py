"""The float steps of the trained models, folded as `export` does it, but not proved as there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from quantization_tasks import Task, task

from millstream import lower
from millstream.cli.export_options import ExportOptions
from millstream.cli.preparing import prepare
from millstream.describing import model_spec, with_states
from millstream.exporting import About
from millstream.graph import StepGraph
from millstream.ladder import Silent
from millstream.protocol import streamable
from millstream.quantize.calibration import Calibration, spread
from millstream.reparameterize import rewritten
from millstream.reparameterize.graph import rewritten_graph
from millstream.targets import numba
from millstream.trace import trace
from millstream_models import CATALOGUE
from millstream_runtime.spec import ModelSpec

TRAINED = tuple(model.name for model in CATALOGUE if model.weights and model.dataset)


@dataclass(frozen=True)
class Step:
    """A float step, its contract, what it is calibrated on, and what it is for."""

    name: str
    graph: StepGraph
    spec: ModelSpec
    calibration: Calibration
    task: Task


def step_of(name: str) -> Step:
    """The step of a trained model of the catalogue, its example that of an export."""
    ready = prepare(ExportOptions(model=name), Silent())
    data = ready.example.data
    frame = torch.tensor(data.frames[0][:1])
    folded, _ = rewritten(streamable(ready.module, frame), data)
    traced = trace(folded, frame).graph
    initial = tuple(value[0].numpy() for value in folded.initial.values())
    starts = {pair.name: value for pair, value in zip(traced.states, initial, strict=True)}
    done = rewritten_graph(traced, np.concatenate(data.frames[:4]), starts)
    spec = with_states(model_spec(folded, traced, About(name)), done.graph, done.initial)
    initial = tuple(done.initial[pair.name] for pair in traced.states)
    model = next(model for model in CATALOGUE if model.name == name)
    return Step(name, done.graph, spec, Calibration(spread(data.frames), initial), task(model))


def compiled_bytes(graph: StepGraph) -> int:
    """Of the weights of the step that is compiled from the graph."""
    lowered = lower.lower(graph)
    return len(numba.compile_program(lowered.program, lowered.weights).files["weights.bin"])
