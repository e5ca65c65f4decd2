"""Profiles and comparisons: what they count is counted otherwise, and times are sane."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from command_line import Command
from small_models import ConvNet, frames, seeded

import millstream
import millstream_runtime
from millstream import profiling
from millstream.comparing import compare
from millstream.errors import UnsupportedOperators
from millstream.report.page import flame
from millstream_runtime import plan
from millstream_runtime.bundle import Bundle


def test_every_stage_is_in_one_group(bundle: Path) -> None:
    read = millstream_runtime.read(bundle)
    program = plan.load(read.members["targets/numba/plan.json"])
    found = profiling.profile(read, 200)
    assert sum(group.stages for group in found.groups) == len(program.stages)
    # Every constant of this model is read by one stage.
    assert sum(group.weight_bytes for group in found.groups) == sum(
        buffer.size * np.dtype(buffer.dtype).itemsize for buffer in program.role("constant")
    )
    # Two products of the cell and one of the output layer, at least.
    assert sum(group.points for group in found.groups) >= 3 * 37 * (5 + 37) + 3 * 37
    assert 0 < found.whole < 1000
    assert 0.2 < found.sum / found.whole < 5


def test_a_slower_stage_is_told_from_a_faster_one(tmp_path: Path) -> None:
    """The first convolution of the picture model has few of its points, its second has most."""
    made = millstream.export(seeded(ConvNet), frames(ConvNet, 6), "numba")
    made.save(tmp_path / "conv.mill")
    found = profiling.profile(millstream_runtime.read(tmp_path / "conv.mill"), 200)
    heavy = max(found.groups, key=lambda group: group.points)
    light = min(found.groups, key=lambda group: group.points)
    assert heavy.points > 50 * light.points
    assert heavy.microseconds > light.microseconds


def test_a_bundle_without_numba_is_profiled_all_the_same(pair: tuple[Bundle, Bundle]) -> None:
    assert profiling.profile(pair[0], 20).groups


def test_a_graph_that_the_lowering_lacks_is_refused(millstream: Command, room: Path, tmp_path: Path) -> None:
    path = tmp_path / "up.mill"
    options = ("--target", "onnxruntime", "--example", "noise:9x3x10")
    result = millstream("export", f"{room}/user.py:upsampled", *options, "-o", path)
    assert result.exit_code == 0, result.stderr
    with pytest.raises(UnsupportedOperators, match="Resize"):
        profiling.profile(millstream_runtime.read(path), 5)


def test_a_picture_has_modules_over_their_parts() -> None:
    groups = tuple(
        profiling.Group(origin, 1, 1, 0, time)
        for origin, time in (("a.0.b Gemm", 3.0), ("a.0.c Add + Relu", 1.0), ("output y", 0.5))
    )
    found = profiling.Profile("m", 1, groups, 4.0, 0.1)
    root = flame.tree(found)
    assert (root.microseconds, root.below["a.0"].microseconds) == (4.5, 4.0)
    assert root.below["a.0"].below["c"].below["Add + Relu"].microseconds == 1.0
    text = flame.page(found)
    assert 'style="flex-grow:3000000" title="b: 3 µs"' in text
    assert flame.share(found, groups[0]) == 3.0 / 4.5


def test_profile_prints_and_draws(millstream: Command, bundle: Path, tmp_path: Path) -> None:
    result = millstream("profile", bundle, "--rounds", 20, "-o", tmp_path / "profile.html")
    assert result.exit_code == 0, result.stderr
    assert "the step as one function" in result.stdout
    assert "cell" in (tmp_path / "profile.html").read_text()
    document = json.loads(millstream("profile", bundle, "--rounds", 20, "--json").stdout)
    assert document["rounds"] == 20
    assert document["groups"][0].keys() == {"origin", "stages", "points", "weight_bytes", "microseconds"}


def test_a_bundle_is_like_itself_and_apart_from_its_rounded_form(pair: tuple[Bundle, Bundle]) -> None:
    exact, rounded = pair
    same = compare(exact, exact, 20)
    assert same.first.identity == same.second.identity
    assert [(a.largest, a.relative_rms, a.agreeing) for a in same.apart] == [(0.0, 0.0, 1.0)]
    assert same.contract == ()
    found = compare(exact, rounded, 20)
    assert found.second.weight_bytes["onnxruntime"] < 0.5 * found.first.weight_bytes["onnxruntime"]
    (apart,) = found.apart
    assert apart.relative_rms == pytest.approx(_by_hand(exact, rounded), rel=1e-6)


def _by_hand(exact: Bundle, rounded: Bundle) -> float:
    golden = millstream_runtime.safetensors.load(exact.members["golden.safetensors"], "golden")[0]
    golden_frames, outputs = next(iter(golden.values())), []
    for bundle in (exact, rounded):
        with millstream_runtime.load(bundle.path).stream() as stream:
            outputs.append(np.stack([np.array(stream.step(x)) for x in golden_frames]).astype(float))
    return np.linalg.norm(outputs[1] - outputs[0]) / np.linalg.norm(outputs[0])


def test_compare_says_what_differs(millstream: Command, bundle: Path, windowed: Path) -> None:
    result = millstream("compare", bundle, windowed, "--steps", 20)
    assert result.exit_code == 0, result.stderr
    assert "differs: state hidden: float32(37,), none" in result.stdout
    assert "not compared on frames" in result.stdout
    document = json.loads(millstream("compare", bundle, bundle, "--steps", 20, "--json").stdout)
    assert document["apart"][0]["largest"] == 0
    assert set(document["first"]["medians"]) == {"numba", "onnxruntime"}
