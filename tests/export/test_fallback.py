"""Exports of graphs that a chosen target does not cover: another takes its place, or all is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from small_models import (
    GatedRecurrence,
    HalfGated,
    HalfPrecision,
    HalfState,
    Upsampled,
    UsesPlaces,
    frames,
    seeded,
)
from torch import nn

import millstream
import millstream_runtime
from millstream.errors import UnsupportedOperators
from millstream.float16 import RELATIVE
from millstream.ladder import Rung


class _Listener:
    """A watcher that keeps what it is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def begin(self, what: str) -> None:
        """Not kept."""

    def noted(self, what: str) -> None:
        self.notes.append(what)

    def climbed(self, rung: Rung) -> None:
        """Not kept."""


@pytest.mark.parametrize(
    ("make", "operators", "origins", "bound"),
    [
        (Upsampled, {"Resize"}, {"up"}, 2e-5),
        # Two neighbours of float16 near 1, where the outputs are.
        (HalfPrecision, {"Gemm", "Mul", "Add", "Tanh"}, {"inlet", ""}, 2.0**-10),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_relax_takes_the_place_of_cpu(
    make: type[nn.Module], operators: set[str], origins: set[str], bound: float, tmp_path: Path
) -> None:
    module, example, listener = seeded(make), frames(make, 2, 21), _Listener()
    exported = millstream.export(module, example, target="cpu", watcher=listener)
    (note,) = listener.notes
    assert note.startswith("relax takes the place of cpu")
    (detour,) = exported.contents.report["fallbacks"]
    assert (detour["chosen"], detour["taken"]) == ("cpu", "relax")
    assert {gap["operator"] for gap in detour["gaps"]} == operators
    assert {gap["origin"] for gap in detour["gaps"]} == origins
    assert all(gap["node"] in note for gap in detour["gaps"])
    proved = [rung.claim for rung in exported.ladder.rungs]
    assert "step.onnx (reference) = relax" in proved
    assert "relax: no state drifts" in proved
    exported.save(tmp_path / "model.mill")
    model = millstream_runtime.load(tmp_path / "model.mill")
    assert (model.target.name, model.backend) == ("relax", "relax")
    with torch.no_grad():
        want = module(example[:1])[0].numpy()
    np.testing.assert_allclose(np.stack(model.stream().push(example[0].numpy())), want, rtol=0, atol=bound)


def test_a_state_that_the_module_keeps_in_float16_takes_no_detour() -> None:
    module, example = seeded(HalfState), frames(HalfState, 2, 21)
    exported = millstream.export(module, example, target=("cpu", "numba", "c", "onnxruntime"))
    assert exported.contents.report["fallbacks"] == []
    assert exported.contents.model.states[0].dtype == "float16"
    # A rounding that falls to the other side moves what follows: the bound is that of the dtype.
    assert {target.tolerance.relative for target, _ in exported.contents.targets} == {RELATIVE}


def test_the_targets_that_are_chosen_when_none_is_have_fallbacks() -> None:
    exported = millstream.export(seeded(Upsampled), frames(Upsampled, 1, 9))
    assert [target.name for target, _ in exported.contents.targets] == ["relax", "onnxruntime"]
    taken = {detour["chosen"]: detour["taken"] for detour in exported.contents.report["fallbacks"]}
    assert taken == {"cpu": "relax", "numba": "onnxruntime"}
    assert exported.contents.options["targets"] == ["cpu", "numba", "onnxruntime"]


def test_a_target_that_is_chosen_and_taken_is_there_once() -> None:
    exported = millstream.export(seeded(Upsampled), frames(Upsampled, 1, 9), target=("relax", "cpu"))
    assert [target.name for target, _ in exported.contents.targets] == ["relax", "onnxruntime"]


def test_nothing_is_noted_where_every_target_covers_the_graph() -> None:
    listener = _Listener()
    exported = millstream.export(
        seeded(GatedRecurrence), frames(GatedRecurrence, 1, 9), target=("cpu", "relax"), watcher=listener
    )
    assert [target.name for target, _ in exported.contents.targets] == ["cpu", "relax", "onnxruntime"]
    assert listener.notes == []
    assert exported.contents.report["fallbacks"] == []


def test_gaps_of_a_target_and_of_its_fallback_are_refused_together() -> None:
    with pytest.raises(UnsupportedOperators) as caught:
        millstream.export(seeded(HalfGated), frames(HalfGated, 2), target=("cpu", "c"))
    text = str(caught.value)
    assert "cpu, relax, c cannot run" in text
    assert "cpu: GRU at node" in text
    assert "relax: GRU at node" in text
    assert "from back" in text


def test_what_tvm_lacks_as_well_is_told_with_its_modules() -> None:
    with pytest.raises(UnsupportedOperators) as caught:
        millstream.export(seeded(UsesPlaces), frames(UsesPlaces, 2), target="cpu")
    lines = [line for line in str(caught.value).splitlines() if "MaxPool" in line]
    for target in ("cpu", "relax"):
        for module in ("first", "second"):
            assert any(f"- {target}: " in line and f"from {module}" in line for line in lines)


def test_a_target_without_a_fallback_is_refused() -> None:
    with pytest.raises(UnsupportedOperators, match="c cannot run"):
        millstream.export(seeded(Upsampled), frames(Upsampled, 1, 9), target=("cpu", "c"))
