"""Streaming ONNX files: static, paired, and the same numbers frame by frame as the file gives itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from onnx_files import closed, detector, switched

import millstream_runtime
from millstream.errors import OnnxUnusable
from millstream.exporting import export_graph
from millstream.importing import Imported, imported
from millstream.trace import Traced

#: onnxruntime sums a dozen float32 products in another order than the reference; values are of order 1.
_BOUND = 1e-5


def _streamed(found: Imported, frames: np.ndarray, path: Path) -> np.ndarray:
    """The outputs of a stream over frames (T, *frame), from the exported bundle."""
    exported = export_graph(Traced(found.graph, ""), found.source, frames[None], "numba")
    assert exported.ladder.passed
    exported.save(path)
    stream = millstream_runtime.load(path, backend="numba").stream()
    return np.stack(stream.push(frames))


def _whole(path: Path, **feeds: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, feeds)[0])


def _frames(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("states", [("h=hn", "c=cn"), ("auto",)], ids=["named", "guessed"])
def test_a_detector_streams_what_it_gives_for_all_frames_at_once(
    states: tuple[str, ...], tmp_path: Path
) -> None:
    path = detector(tmp_path / "detector.onnx")
    found = imported(str(path), states)
    assert found.states == {"h": "hn", "c": "cn"}
    assert "stepping" in found.notes[0]
    x, zeros = _frames(11, 1, 6), np.zeros((1, 1, 5), np.float32)
    got = _streamed(found, x, tmp_path / "detector.mill")
    np.testing.assert_allclose(got.ravel(), _whole(path, x=x, h=zeros, c=zeros).ravel(), atol=_BOUND)


def test_states_that_are_swapped_are_found_out_by_stepping(tmp_path: Path) -> None:
    with pytest.raises(OnnxUnusable, match="differs by"):
        imported(str(detector(tmp_path / "detector.onnx")), ("h=cn", "c=hn"))


def test_one_frame_alone_cannot_be_tried_so_the_mapping_is_asked_for(tmp_path: Path) -> None:
    path = str(detector(tmp_path / "detector.onnx", frames=1))
    with pytest.raises(OnnxUnusable, match=r"one frame alone.*\n.*--state h=hn --state c=cn"):
        imported(path, ("auto",))
    assert "as you say" in imported(path, ("h=hn", "c=cn")).notes[0]


def test_a_state_that_begins_inside_the_graph_is_opened(tmp_path: Path) -> None:
    path = closed(tmp_path / "closed.onnx")
    found = imported(str(path), expose=True)
    assert list(found.states) == ["gru0.hidden"]
    x = _frames(9, 1, 4)
    got = _streamed(found, x, tmp_path / "closed.mill")
    np.testing.assert_allclose(got.reshape(9, 3), _whole(path, x=x).reshape(9, 3), atol=_BOUND)


def test_a_state_that_stays_inside_is_found_out_by_stepping(tmp_path: Path) -> None:
    with pytest.raises(OnnxUnusable, match="differs by"):
        imported(str(closed(tmp_path / "closed.onnx")))


@pytest.mark.parametrize(("rate", "gain"), [(16000, 0.5), (8000, 2.0), (44100, 0.5)])
def test_branches_on_settings_are_decided(rate: int, gain: float, tmp_path: Path) -> None:
    found = imported(str(switched(tmp_path / "switched.onnx")), ("state=stateN",), settings={"sr": rate})
    x = _frames(6, 4)
    got = _streamed(found, x, tmp_path / "switched.mill")
    want = gain * (x + np.concatenate((np.zeros((2, 4), np.float32), x[:-2])))
    np.testing.assert_allclose(got, want, atol=_BOUND)


def test_branches_on_frames_are_refused(tmp_path: Path) -> None:
    with pytest.raises(OnnxUnusable, match="--set name=value"):
        imported(str(switched(tmp_path / "switched.onnx")), ("state=stateN", "sr=output"))


@pytest.mark.parametrize(
    ("states", "options", "message"),
    [
        (("h=nothing", "sea=cn"), {}, "no such state: h=nothing, sea=cn"),
        (("h=hn",), {}, "2 inputs that are no states: x, c"),
        (("h=hn", "c=cn"), {"settings": {"rate": 1.0}}, "no input is called rate"),
        (("h=hn", "c=cn"), {"sizes": {"x": (1, 6)}}, "sizes 1x6 do not fit"),
        (("h=hn", "c=cn"), {"sizes": {"x": (1, 1, 7)}}, "cannot open the model with these sizes"),
        (("h=hn", "c=cn"), {"expose": True}, "no recurrent node"),
    ],
)
def test_what_does_not_fit_is_told(states: tuple, options: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(OnnxUnusable, match=message):
        imported(str(detector(tmp_path / "detector.onnx")), states, **options)


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.onnx").write_text("no model")
    with pytest.raises(OnnxUnusable, match="no ONNX model"):
        imported(str(tmp_path / "text.onnx"))
