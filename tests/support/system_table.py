"""`docs/models.md`: what each system of the catalogue keeps and computes, measured.

PYTHONPATH=sdk:runtimes:models:tests/support python tests/support/system_table.py > docs/models.md
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from system_steps import lowered
from systems import NAMES, entry, one_block

import millstream_models.deltanet
from millstream_models.core.forms import SEQUENCE
from millstream_models.deltanet.state_tracking import TASKS, Task, accuracy, tracker
from millstream_runtime.program import Call, Expression, Stage, walk

FOLDER = Path(millstream_models.deltanet.__file__).parent

HEAD = """# Models

The streaming systems of the literature, each in a folder of `models/millstream_models/` with its maths,
traps and sources. What they share is in `core/`: coarse operations of a step, their forms for whole
sequences, and the block and the model around a mixer. A further mixer is one folder: `mix(x, state, form)`,
`initial_state`, and a naive definition for the tests.

    millstream export gla --example noise:64x12 -o gla.mill

exports the small untrained configuration of any of them: frames of 12 numbers, width 32, 8 outputs. What
was trained, and what it reaches, is [a page of its own](trained.md); so is
[what a hundred thousand frames do to a state](drift.md).

## What a block keeps and computes

Made by `python tests/support/system_table.py > docs/models.md`, and kept by `tests/systems/test_steps.py`:
for one block of the catalogue's configuration with its inlet and head (of a hybrid, its last two blocks),
the bytes of state of one stream, the multiplications of one step as they stand in the fused program, those
of them in loops that read a state, and what carries the sequence form from frame to frame. `loop` means
that there is no parallel form.

| system | state bytes | multiplications | on states | frames are crossed by |
|---|---:|---:|---:|---|
"""

TAIL = """
Every system passes the same tests, without code of its own: naive definition, sequence form and step form
agree in float64 at odd lengths, from any cut of prefill and decode (`tests/systems/test_forms.py`);
gradients are slopes and every parameter learns (`test_training.py`); the step graph and the fused program
are the step, with a matrix state passed over once (the delta family: twice) and stored once
(`test_steps.py`); Numba, TVM and C make the same of every coarse operation
(`tests/backends/test_systems_compiled.py`); a thousand frames of float32 stay at float64
(`test_long_streams.py`). State sizes at published widths are held to the published ones
(`test_published_sizes.py`). Bounds are 1e-11 in float64 and 2e-5 in float32, in units of the largest
output; ATLAS alone has wider ones, as its Newton-Schulz steps amplify rounding.

    python -m pytest tests/systems/test_against_transformers.py

compares Mamba, Mamba-2, Gated DeltaNet (Qwen3-Next), Griffin (RecurrentGemma), the cell of mLSTM and ternary
weights with independent code on the same random weights.

## At published sizes

What the papers' own sizes come to, for one layer: the state of one stream in float32, which
`tests/systems/test_published_sizes.py` holds to the published figures, and the multiplications on it, by
what the fused programs above do for each number of state. Projections come on top.

| mixer | size | numbers of state | bytes | multiplications a number | together |
|---|---|---:|---:|---:|---:|
| GLA | d 1024, 4 heads | 131,072 | 512 KiB | 3 | 393,216 |
| HGRN2 | d 1024, heads of 128 | 131,072 | 512 KiB | 3 | 393,216 |
| RetNet | d 1024, 8 heads | 262,144 | 1 MiB | 3 | 786,432 |
| Mamba-2 | d 768, order 128 | 196,608 | 768 KiB | 3 | 589,824 |
| Mamba | d 768, order 16 | 24,576 | 96 KiB | 3, and an exponential | 73,728 |
| S4D | d 256, order 64 | 16,384 | 64 KiB | 3.5 | 57,344 |
| S4 | d 256, order 64 | 16,384 | 64 KiB | 5.5 | 90,112 |
| DeltaNet | d 1024, 4 heads | 262,144 | 1 MiB | 4 | 1,048,576 |
| MLGRU | d 1024 | 1,024 | 4 KiB | 3 | 3,072 |
| LMU | order 256 | 256 | 1 KiB | 257 | 65,792 |

The field counts 3 for DeltaNet and S4D and 2 for the MLGRU: we multiply by a decay or a key of one, which the
shared kernel has and they do not need. It costs no time where a step waits for the memory of its state. Rings
of short convolutions hold three columns, not the four of published code, whose oldest is never read.

## Tracking a state

    python models/training/state_tracking.py

trains one block of DeltaNet of width 32 to sum tokens, on sequences of up to 40 of them, and reads it at
places 60 to 80. The weights are in `models/millstream_models/deltanet/`, and
`tests/systems/test_tracking.py` reads them again.

| task | strengths | steps a frame | right | chance |
|---|---|---:|---:|---:|
"""


def page() -> str:
    """The whole page."""
    rows = "".join(f"{row(name)}\n" for name in NAMES)
    return HEAD + rows + TAIL + "".join(f"{tracked(task)}\n" for task in TASKS)


def tracked(task: Task) -> str:
    """One line of what the trained trackers get right."""
    model = tracker(task).eval()
    model.load_state_dict(load_file(FOLDER / task.weights))
    right, chance = accuracy(task, model), 1 / task.modulus
    strengths = f"0 to {task.largest_strength:g}"
    return f"| {task.name} | {strengths} | {task.micro_steps} | {right:.1%} | {chance:.0%} |"


def row(name: str) -> str:
    """One system's line."""
    stages = lowered(name).program.stages
    state = one_block(name).initial_state(1)
    size = sum(value.numel() * value.element_size() for value in state.values())
    names = {buffer.name for buffer in lowered(name).program.role("state")}
    total, on_states = (sum(map(_multiplications, s)) for s in (stages, _reading(stages, names)))
    folder = entry(name).factory.split(":")[0].split(".")[1]
    link = f"[{name}](../models/millstream_models/{folder}/README.md)"
    return f"| {link} | {size:,} | {total:,} | {on_states:,} | {', '.join(crossings(name))} |"


def crossings(name: str) -> list[str]:
    """The operations of the form that a sequence of the block goes through."""
    used: set[str] = set()

    def recorded(field: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*operands: Any) -> Any:
            used.add(field.replace("_", " "))
            return function(*operands)

        return call

    fields = {f.name: getattr(SEQUENCE, f.name) for f in dataclasses.fields(SEQUENCE)}
    form = dataclasses.replace(SEQUENCE, **{field: recorded(field, f) for field, f in fields.items()})
    model = one_block(name)
    with torch.no_grad():
        model.mix(torch.zeros(1, 3, 12), model.initial_state(1), form)
    return sorted(used)


def _reading(stages: tuple[Stage, ...], names: set[str]) -> list[Stage]:
    return [stage for stage in stages if names & _loads(stage)]


def _loads(stage: Stage) -> set[str]:
    return {part.access.buffer for root in _roots(stage) for part in walk(root) if hasattr(part, "access")}


def _roots(stage: Stage) -> list[Expression]:
    reduction = stage.reduction
    inner = [reduction.operand, *([reduction.kept.value] if reduction.kept else [])] if reduction else []
    return [stage.value, *inner]


def _multiplications(stage: Stage) -> int:
    points = math.prod(stage.extents)
    count = points * _products(stage.value)
    if stage.reduction:
        inner = points * math.prod(stage.reduction.extents)
        count += inner * sum(_products(root) for root in _roots(stage)[1:])
    return count


def _products(expression: Expression) -> int:
    return sum(isinstance(part, Call) and part.operation == "multiply" for part in walk(expression))


if __name__ == "__main__":
    print(page(), end="")
