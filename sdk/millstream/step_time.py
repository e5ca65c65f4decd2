"""How long a step graph takes here, before there is a bundle of it."""

from __future__ import annotations

import time

import numpy as np

from millstream import targets
from millstream.graph import StepGraph
from millstream.targets import Contract, Target
from millstream_runtime.core import Core
from millstream_runtime.registers import Registers
from millstream_runtime.spec import STEP, TargetSpec

_STEPS = 500


def step_microseconds(graph: StepGraph, target: Target, contract: Contract) -> float:
    """The median of some hundred steps of one stream in one thread, compiled for a target that runs here.

    Raises a BackendError when the target does not run here.
    """
    made = targets.compile_half(target).compile(graph, target, contract)
    files = {STEP: graph.to_bytes()} if target.reads_step else made.files
    compiled = TargetSpec(target.name, target.backend, (), made.tolerance, made.memory, made.machine)
    step = targets.open_step(files, contract.spec, compiled)
    registers = Registers(Core(contract.spec, step, contract.initial, ""), contract.spec.batch or 1)
    for buffer in registers.inputs:
        buffer[...] = 1
    times = []
    for _ in range(_STEPS):
        start = time.perf_counter_ns()
        registers.tick()
        times.append(time.perf_counter_ns() - start)
    return float(np.median(times)) / 1000
