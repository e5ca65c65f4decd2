"""The steps of the workloads as step graphs, not proved."""

from __future__ import annotations

import torch
from frames import FRAMES
from workloads import workload

from millstream.graph import StepGraph
from millstream.protocol import streamable
from millstream.quantize.calibration import Calibration
from millstream.trace import trace


def step_of(name: str) -> tuple[StepGraph, Calibration]:
    """The step graph of a workload, and the frames and states that it begins with."""
    frame = torch.as_tensor(FRAMES[:1])
    source = streamable(workload(name), frame)
    initial = [value[0].numpy() for value in source.initial.values()]
    return trace(source, frame).graph, Calibration([FRAMES], initial)
