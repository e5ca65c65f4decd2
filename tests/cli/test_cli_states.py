"""`--states`: states in fewer bytes in the bundle, in what is told of it, and on its page."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from command_line import Command

import millstream_runtime
from millstream_runtime.stream import Stream


@pytest.fixture(scope="module")
def narrow(millstream: Command, room: Path) -> Path:
    """The gated recurrence with its state in fewer bytes."""
    path = room / "narrow.mill"
    options = ("--target", "numba", "--target", "c", "--example", room / "data.npz", "--states", "5%")
    result = millstream("export", f"{room}/user.py:gated", *options, "-o", path)
    assert result.exit_code == 0, result.stderr
    assert "narrow states ~ with float32" in result.output
    return path


def test_the_bundle_says_what_its_states_are(millstream: Command, narrow: Path) -> None:
    told = json.loads(millstream("inspect", narrow, "--json").stdout)
    (state, largest), found = told["model"]["states"], told["report"]["states"]
    assert (state["dtype"], state["rounded"], state["bytes"]) == ("int8", True, 37)
    assert (largest["dtype"], largest["rounded"], largest["bytes"]) == ("float32", False, 4)
    assert (found["float32 bytes"], found["bytes"]) == (4 * 37, 37 + 4)
    (hidden,) = found["states"]
    assert [one["dtype"] for one in hidden["tried"]] == ["int8", "float16", "int16"]
    errors = [one["error"] for one in hidden["tried"]]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] > 0
    assert max(found["together"]["curve"]) <= found["bound"] == 0.05
    assert "drift in int8" in millstream("inspect", narrow).output


def _stepped(stream: Stream, frame: np.ndarray) -> np.ndarray:
    output = stream.step(frame)
    assert isinstance(output, np.ndarray)
    return output.copy()


def test_a_stream_of_narrow_states_can_be_kept_and_taken_up(narrow: Path) -> None:
    frames = np.random.default_rng(3).standard_normal((20, 5)).astype(np.float32)
    model = millstream_runtime.load(narrow)
    stream = model.stream()
    want = [_stepped(stream, frame) for frame in frames]
    stream = model.stream()
    for frame in frames[:7]:
        stream.step(frame)
    later = model.stream()
    later.load(stream.save())
    np.testing.assert_array_equal([_stepped(later, frame) for frame in frames[7:]], want[7:])


@pytest.fixture(scope="module")
def halved(millstream: Command, room: Path) -> Path:
    """The gated recurrence with a bound that int8 passes, and float16 does not."""
    path = room / "halved.mill"
    targets = [option for name in ("numba", "c", "opencl") for option in ("--target", name)]
    options = (*targets, "--example", room / "data.npz", "--states", "0.2%")
    result = millstream("export", f"{room}/user.py:gated", *options, "-o", path)
    assert result.exit_code == 0, result.stderr
    return path


def test_a_state_in_float16_has_no_scales(millstream: Command, halved: Path) -> None:
    told = json.loads(millstream("inspect", halved, "--json").stdout)
    (state,) = told["model"]["states"]
    assert (state["dtype"], state["rounded"], state["bytes"]) == ("float16", True, 2 * 37)
    assert told["report"]["states"]["bytes"] == 2 * 37
    assert "1 states in float16" in str(told["report"]["ladder"])


def test_a_snapshot_of_halves_goes_from_a_stream_to_a_pool_on_a_device(halved: Path) -> None:
    frames = np.random.default_rng(3).standard_normal((20, 5)).astype(np.float32)
    stream = millstream_runtime.load(halved, backend="numba").stream()
    want = [_stepped(stream, frame) for frame in frames]
    whole = millstream_runtime.load(halved, backend="numba").stream().push(frames)
    np.testing.assert_array_equal(np.stack(whole), want)
    stream = millstream_runtime.load(halved, backend="numba").stream()
    for frame in frames[:7]:
        stream.step(frame)
    blob = stream.save()
    pool = millstream_runtime.load(halved, backend="opencl").streams(3)
    pool.load(1, blob)
    assert pool.save(1) == blob
    for frame, expected in zip(frames[7:], want[7:], strict=True):
        np.testing.assert_allclose(pool.step(np.stack([frame] * 3))[1], expected, rtol=0, atol=2e-3)


def test_the_page_draws_the_drift(millstream: Command, narrow: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    result = millstream("report", narrow, "--steps", 5, "--ticks", 5, "-o", page)
    assert result.exit_code == 0, result.stderr
    text = page.read_text()
    assert "Dtypes of the states" in text
    assert 'aria-label="Drift of narrower states"' in text
    assert "148 B of states became 41 B" in text


def test_a_drift_that_nothing_keeps_to_leaves_the_states(
    millstream: Command, room: Path, tmp_path: Path
) -> None:
    path = tmp_path / "wide.mill"
    options = ("--target", "onnxruntime", "--example", room / "data.npz", "--states", "0%", "-o", path)
    result = millstream("export", f"{room}/user.py:gated", *options, "--json")
    assert result.exit_code == 0, result.stderr
    (state,) = json.loads(result.stdout)["states"]["states"]
    assert state["dtype"] == "float32"
    assert "int8 moves" in state["why"]
    assert [s.dtype for s in millstream_runtime.read(path).manifest.model.states] == ["float32"]


def test_fixed_point_takes_the_states_itself(millstream: Command, room: Path) -> None:
    options = ("--quantize", "fixed16", "--states", "2%", "--example", room / "data.npz")
    result = millstream("export", f"{room}/user.py:gated", *options)
    assert result.exit_code == 2
    assert "fixed16 takes the states as well" in result.stderr


def test_states_take_the_dtypes_that_they_may(millstream: Command, room: Path) -> None:
    """On a GPU float16 is less work than int8, which is smaller."""
    path, options = (
        room / "halved.mill",
        ("--target", "numba", "--example", room / "data.npz", "--states", "5%"),
    )
    result = millstream("export", f"{room}/user.py:gated", *options, "--state-dtype", "float16", "-o", path)
    assert result.exit_code == 0, result.stderr
    told = json.loads(millstream("inspect", path, "--json").stdout)
    assert [(state["dtype"], state["bytes"]) for state in told["model"]["states"]] == [("float16", 2 * 37)]
    (hidden,) = told["report"]["states"]["states"]
    assert [one["dtype"] for one in hidden["tried"]] == ["float16"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--state-dtype", "float16"), "add --states 2%"),
        (("--states", "5%", "--state-dtype", "int7"), "use one of float16, int8, int16"),
    ],
)
def test_dtypes_of_states_that_make_no_sense(
    options: tuple[str, ...], said: str, millstream: Command, room: Path
) -> None:
    path = room / "none.mill"
    result = millstream(
        "export", f"{room}/user.py:gated", "--example", room / "data.npz", *options, "-o", path
    )
    assert result.exit_code == 2
    assert said in result.stderr
    assert not path.exists()
