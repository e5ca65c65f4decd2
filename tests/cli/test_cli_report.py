"""The figures of a report, each held against what can be counted otherwise, and the page that shows them."""

from __future__ import annotations

import dataclasses
import json
import math
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import Command
from rich.console import Console
from small_models import RunningMean, frames, seeded
from torch import Tensor, nn

import millstream
import millstream_runtime
from millstream import reference
from millstream.cli.quantized import details
from millstream.errors import DataInvalid
from millstream.report import Effort, Labelled, Report, report
from millstream.report.drift import drifts
from millstream.report.latency import PERCENTILES
from millstream.report.page import page
from millstream.report.rooms import rooms
from millstream.sequences import Sequences, read
from millstream_runtime.bundle import Bundle
from millstream_runtime.core import Core
from millstream_runtime.golden import load
from millstream_runtime.spec import GOLDEN, STEP


class _Seen(HTMLParser):
    """Tags that are opened and closed as they should be, attributes, and text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag not in ("meta", "path", "line", "polyline"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def _seen(text: str) -> _Seen:
    parser = _Seen()
    parser.feed(text)
    assert not parser.open
    return parser


@pytest.fixture(scope="module")
def read_bundle(bundle: Path) -> Bundle:
    return millstream_runtime.read(bundle)


@pytest.fixture(scope="module")
def found(read_bundle: Bundle, room: Path) -> Report:
    labelled = Labelled(read(room / "data.npz"), "data.npz")
    return report(read_bundle, Effort(steps=300, ticks=200), labelled=labelled)


def test_rooms_hold_every_weight_and_every_state_once(found: Report) -> None:
    rooms = {room.path: room for room in found.rooms}
    # A GRU cell of 5 inputs and 37 units, three gates with two biases each; a linear layer of 3.
    assert rooms["cell"].weights == 3 * 37 * (5 + 37 + 2)
    assert rooms["out"].weights == 3 * 37 + 3
    assert rooms["out"].weight_bytes == 4 * rooms["out"].weights
    assert {name: size for room in found.rooms for name, size in room.states.items()} == {"hidden": 4 * 37}


class Twice(nn.Module):
    """One layer, used twice in a step."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.mix(torch.tanh(self.mix(x)))


def test_a_weight_that_is_read_twice_counts_once(tmp_path: Path) -> None:
    millstream.export(Twice(), np.ones((3, 4), np.float32), "onnxruntime").save(tmp_path / "twice.mill")
    found = {room.path: room for room in rooms(millstream_runtime.read(tmp_path / "twice.mill"))}
    assert found["mix"].operators["Gemm"] == 2
    assert (found["mix"].weights, found["mix"].weight_bytes) == (20, 80)


def test_times_are_those_of_all_steps(found: Report) -> None:
    assert [latency.target for latency in found.latencies] == ["numba", "onnxruntime"]
    for latency in found.latencies:
        assert sum(latency.counts) == 300
        assert len(latency.edges) == len(latency.counts) + 1
        assert list(latency.percentiles) == sorted(latency.percentiles)
        assert len(latency.percentiles) == len(PERCENTILES)
        assert 0 < latency.at(50.0) < 10_000


def test_states_stay_within_what_is_allowed_and_a_wrong_state_shows(read_bundle: Bundle) -> None:
    model = millstream_runtime.load(read_bundle.path, "numba")
    spec, golden = read_bundle.manifest.model, load(read_bundle.members[GOLDEN], read_bundle.manifest.model)
    core = Core(spec, reference.open(read_bundle.members[STEP], spec), read_bundle.initial(), "")
    (right,) = drifts([model], core, golden, 150)
    assert right.ticks[0] == 1
    assert right.ticks[-1] == 150
    assert 0 < max(right.shares) < 1
    elsewhere = dataclasses.replace(model.core, initial=(np.full(37, 0.5, np.float32),))
    (wrong,) = drifts([dataclasses.replace(model, core=elsewhere)], core, golden, 150)
    assert wrong.shares[0] > 1
    assert wrong.largest["hidden"] > 0.01


def test_integers_that_differ_are_infinitely_far(tmp_path: Path) -> None:
    made = millstream.export(seeded(RunningMean), frames(RunningMean, 2, 20), "onnxruntime")
    made.save(tmp_path / "mean.mill")
    model = millstream_runtime.load(tmp_path / "mean.mill")
    golden = made.contents.golden
    later = dataclasses.replace(model.core, initial=(model.core.initial[0], np.int64(1)))
    (drift,) = drifts([dataclasses.replace(model, core=later)], model.core, golden, 3)
    assert drift.shares == (math.inf,) * 3
    (same,) = drifts([model], model.core, golden, 3)
    assert same.shares == (0.0,) * 3


def test_the_confusion_matrix_counts_what_streams_predict(found: Report, room: Path) -> None:
    assert found.confusion
    assert found.confusion.labels == ("red", "green", "blue")
    data, model = read(room / "data.npz"), millstream_runtime.load(found.path, found.confusion.target)
    wanted = [[0] * 3 for _ in range(3)]
    for sequence, label in zip(data.frames, data.labels, strict=True):
        with model.stream() as stream:
            wanted[label][int(np.argmax(stream.push(sequence)[-1]))] += 1
    assert [list(row) for row in found.confusion.counts] == wanted
    right = sum(wanted[each][each] for each in range(3))
    assert found.confusion.accuracy == right / 4


def test_labels_that_the_model_does_not_have_are_refused(read_bundle: Bundle, room: Path) -> None:
    data = Sequences(read(room / "data.npz").frames, np.array([0, 1, 2, 3]))
    with pytest.raises(DataInvalid, match="labels outside 0 to 2"):
        report(read_bundle, Effort(1, 1), labelled=Labelled(data, "data"))


def test_targets_take_what_the_manifest_says(found: Report, read_bundle: Bundle) -> None:
    numba = found.targets[0]
    files = [size.size for name, size in read_bundle.manifest.members.items() if "/numba/" in name]
    assert (numba.target, numba.file_bytes) == ("numba", sum(files))
    assert numba.ram_bytes == 2 * 4 * 37 + numba.memory.scratch


def test_the_page_stands_alone_and_shows_every_figure(found: Report) -> None:
    text = page(found)
    seen = _seen(text)
    assert not {"script", "link", "img", "iframe"} & seen.tags
    assert not {"src", "href"} & seen.attributes
    assert "url(" not in text
    assert "@import" not in text
    for rung in found.ladder:
        assert rung["claim"] in seen.text
    for title in (
        "Time of a step here",
        "Memory",
        "The rooms of the model",
        "Drift of the states",
        "Targets",
    ):
        assert title in seen.text
    assert f"{found.confusion.accuracy:.2%} right" in seen.text if found.confusion else False
    assert page(found) == text


def test_what_a_bundle_says_is_shown_as_text(found: Report) -> None:
    hostile = dataclasses.replace(
        found,
        model='<script>"&',
        ladder=({"claim": "<img src=x>", "passed": False, "detail": "<b>"},),
        rooms=tuple(dataclasses.replace(room, path="<iframe>") for room in found.rooms),
    )
    seen = _seen(page(hostile))
    assert not {"script", "img", "iframe"} & seen.tags
    assert '<script>"&' in seen.text
    assert "✗ FAILED" in seen.text


def test_a_quantized_bundle_shows_its_layers(pair: tuple[Bundle, Bundle]) -> None:
    told = report(pair[1], Effort(steps=10, ticks=10))
    assert told.quantization
    text = _seen(page(told)).text
    for layer in told.quantization["layers"]:
        assert f"{layer['alone']:.1f}" in text
        assert layer["origin"] in text
    assert "No layer's result passes the format's bound" in text
    blamed = {**told.quantization, "to blame": told.quantization["layers"][0]["result"]}
    text = _seen(page(dataclasses.replace(told, quantization=blamed))).text
    assert f"passes the format's bound is {told.quantization['layers'][0]['origin']}" in text


def test_what_was_changed_before_the_rounding_is_shown(pair: tuple[Bundle, Bundle]) -> None:
    """On the page and on the command line; bundles of before that do not tell it are shown as they were."""
    told = report(pair[1], Effort(steps=10, ticks=10))
    gains = [{"method": "rotated", "modules": ["mixer.in", "mixer.out"], "before": 0.031, "after": 0.0105}]
    made = {**(told.quantization or {}), "prepared": gains}
    older = {name: value for name, value in made.items() if name != "prepared"}
    shown, plain = (_seen(page(dataclasses.replace(told, quantization=each))).text for each in (made, older))
    for figure in ("Changed before the rounding", "rotated", "mixer.in, mixer.out", "3.10%", "1.05%"):
        assert figure in shown
    assert "Changed before the rounding" not in plain
    out = Console(width=120)
    with out.capture() as captured:
        out.print(*details(made))
    assert all(figure in captured.get() for figure in ("rotated", "mixer.in, mixer.out", "3.10%", "1.05%"))
    assert len([*details(made)]) - len([*details(older)]) == 1


def test_the_command_writes_a_page_and_the_same_figures(
    millstream: Command, bundle: Path, room: Path, tmp_path: Path
) -> None:
    path = tmp_path / "report.html"
    path.write_text("what stood there")
    options = ("--steps", 50, "--ticks", 20, "--labelled", room / "data.npz", "--json")
    result = millstream("report", bundle, "-o", path, *options)
    assert result.exit_code == 0, result.stderr
    figures = json.loads(result.stdout)
    assert sum(figures["latencies"][0]["counts"]) == 50
    assert sum(map(sum, figures["confusion"]["counts"])) == 4
    assert f"identity {figures['identity'][:16]}" in path.read_text()
    assert [each.name for each in tmp_path.iterdir()] == ["report.html"]


def test_a_page_that_cannot_be_written_is_said(millstream: Command, windowed: Path, tmp_path: Path) -> None:
    path = tmp_path / "no such folder" / "report.html"
    result = millstream("report", windowed, "-o", path, "--steps", 5)
    assert result.exit_code == 2
    assert "the file cannot be written" in result.stderr
