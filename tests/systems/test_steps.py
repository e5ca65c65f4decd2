"""Every system's step as a step graph: the coarse body, the fused program."""

from __future__ import annotations

from pathlib import Path

import pytest
from system_steps import agree, graph_of, lowered, ticks
from system_table import page, row
from systems import NAMES

from millstream.lower.draft import addresses, stores
from millstream.lower.execute import execute
from millstream.reference import evaluate
from millstream_runtime.program import Stage

#: How often a fused step may pass over a matrix state: the delta family must know what its probe finds first.
PASSES = {"LinearRecurrence": 1, "DeltaRule": 2, "RankOneRecurrence": 2}

#: A state that is held where its block is not used is read once more, to be kept.
HELD = ("early_exit", "layer_skip")


@pytest.mark.parametrize("name", NAMES)
def test_graph_and_fused_program_are_the_step(name: str) -> None:
    graph, program = graph_of(name), lowered(name)
    pairs = graph.states
    for frame, state, output, after in ticks(name):
        results = evaluate(graph.model, {"input": frame, **state})
        agree(name, results["output"], [results[pair.next_name] for pair in pairs], output, after)
        outputs, following = execute(program.program, program.weights, [frame], list(state.values()))
        agree(name, outputs[0], following, output, after)


@pytest.mark.parametrize("name", NAMES)
def test_a_matrix_state_is_passed_over_once_and_stored_once(name: str) -> None:
    """What the coarse operation costs after fusion; the primitive body alone would be five passes and
    more.
    """
    kinds = {node.op_type for node in graph_of(name).model.graph.node} & set(PASSES)
    states = [pair.name for pair in graph_of(name).states if pair.name.startswith("memory")]
    if not kinds:
        # A loop of its own: nothing is claimed but that the state is stored once an element.
        assert not [s for s in states if _storing(name, s) == 0]
        return
    for state in states:
        assert _reading(name, state) <= max(PASSES[kind] for kind in kinds) + (name in HELD)
        assert _storing(name, state) == 1


def _reading(name: str, state: str) -> int:
    return sum(state in _loaded(stage) for stage in lowered(name).program.stages)


def _loaded(stage: Stage) -> set[str]:
    stored = {target.buffer for target, _ in stores(stage)}
    return {access.buffer for access in addresses(stage)} - stored


def _storing(name: str, state: str) -> int:
    target = f"{state}.next (result)"
    stages = lowered(name).program.stages
    return sum(target in {place.buffer for place, _ in stores(stage)} for stage in stages)


@pytest.mark.parametrize(
    ("name", "state"),
    [("gla", 2 * 8 * 16), ("hgrn2", 2 * 16 * 16), ("retnet", 2 * 16 * 32), ("lightning", 2 * 16 * 16)],
)
def test_a_linear_recurrence_costs_three_multiplications_a_number(name: str, state: int) -> None:
    """Decay, write and read, as the field counts them; `state` is heads x keys x values."""
    columns = [column.strip() for column in row(name).split("|")]
    assert int(columns[4].replace(",", "")) == 3 * state


def test_the_page_of_models_is_up_to_date() -> None:
    """Here, as the programs of all systems are made in this file."""
    found = (Path(__file__).parents[2] / "docs" / "models.md").read_text()
    assert found == page(), "run: python tests/support/system_table.py > docs/models.md"
