"""Labels of sequences and of frames: which outputs they are asked of, and data that does not fit."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from small_models import CentredAverage, frames

import millstream
import millstream_runtime
from millstream.errors import DataInvalid
from millstream.prove_quantized import keeps_accuracy, labelled_outputs
from millstream.sequences import Sequences, read, sequences


def _ragged(labels: object) -> Sequences:
    """Three sequences of 4, 2 and 3 frames."""
    generator = np.random.default_rng(0)
    return sequences([generator.standard_normal((n, 3)).astype(np.float32) for n in (4, 2, 3)], labels)


#: Six of their nine frames; the column behind the longest is all padding.
_LABELLED = _ragged([[0, -1, 2, 1, -1], [1, 1, -1, -1, -1], [-1, -1, 0, -1, -1]])


def test_a_label_of_a_sequence_is_asked_behind_its_last_frame() -> None:
    data = _ragged([2, 0, 1])
    assert data.asked.astype(int).tolist() == [[0, 0, 0, 1], [0, 1, 0, 0], [0, 0, 1, 0]]
    assert data.answers.tolist() == [2, 0, 1]
    assert data.questions == "3 labelled sequences"
    assert not _ragged(()).asked.any()


def test_labels_of_frames_are_asked_behind_each_that_has_one() -> None:
    data = _LABELLED
    assert data.asked.astype(int).tolist() == [[1, 0, 1, 1], [1, 1, 0, 0], [0, 0, 1, 0]]
    assert data.answers.tolist() == [0, 2, 1, 1, 1, 0]
    assert data.questions == "6 labelled frames"


@pytest.mark.parametrize(
    "labels",
    [
        [[0, 1], [0, 1], [0, 1]],  # too short for four frames
        [[0, 1, 2, 0], [0, 1, 0, -1], [0, 1, 2, -1]],  # one behind the end of the second
        [[-1] * 4] * 3,
        [[0, 1, 2, 0]] * 2,
        np.zeros((3, 4, 1), int),
    ],
)
def test_labels_that_do_not_fit_are_refused(labels: object) -> None:
    with pytest.raises(DataInvalid):
        _ragged(labels)


def test_a_file_may_label_frames(tmp_path) -> None:
    x, y = np.zeros((2, 5, 3), np.float32), np.array([[0, 1, 2, 0, 1], [2, 2, -1, -1, -1]])
    np.savez(tmp_path / "data.npz", x=x, lengths=[5, 2], y=y)
    assert read(tmp_path / "data.npz").answers.tolist() == [0, 1, 2, 0, 1, 2, 2]


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Path:
    """A model that answers one frame late, exported with a label for some frames."""
    path = tmp_path_factory.mktemp("labels") / "mean.mill"
    made = millstream.export(
        CentredAverage(), frames(CentredAverage, 2, 20), "onnxruntime", labelled=_LABELLED
    )
    last = made.ladder.rungs[-1]
    assert last.claim == "predictions agree on 6 labelled frames"
    assert last.passed
    made.save(path)
    return path


@pytest.mark.parametrize("batch", [None, 1])
def test_outputs_are_those_of_the_labelled_frames_whatever_the_look_ahead(exported, batch) -> None:
    """Streamed side by side, and one by one where the batch is fixed."""
    core = millstream_runtime.load(exported).core
    core = dataclasses.replace(core, spec=dataclasses.replace(core.spec, batch=batch))
    wanted = [CentredAverage()(torch.tensor(x)[None])[0].numpy() for x in _LABELLED.frames]
    places = [(0, 0), (0, 2), (0, 3), (1, 0), (1, 1), (2, 2)]
    np.testing.assert_allclose(
        labelled_outputs(core, _LABELLED), [wanted[n][t] for n, t in places], rtol=1e-6
    )
    whole = _ragged([0, 0, 0])
    np.testing.assert_allclose(labelled_outputs(core, whole), [each[-1] for each in wanted], rtol=1e-6)


def test_accuracy_is_counted_over_all_labelled_frames() -> None:
    right = np.eye(3, dtype=np.float32)[_LABELLED.answers]
    wrong = right.copy()
    wrong[1] = np.roll(wrong[1], 1)
    near = keeps_accuracy("w8", right, wrong, _LABELLED)
    assert near.difference == pytest.approx(1 / 6)
    assert near.passed  # one label may always be lost
    wrong[4] = np.roll(wrong[4], 1)
    assert not keeps_accuracy("w8", right, wrong, _LABELLED).passed
    assert "6 labelled frames" in near.detail
