"""The JapaneseVowels data: the published counts, the first frame as published, and how reading fails."""

import importlib.machinery
import importlib.util
import subprocess
import sys

import numpy as np
import pytest

from millstream.datasets import japanese_vowels
from millstream.errors import DataInvalid, ToolMissing

# First frame of ae.train in the UCI archive.
FIRST_FRAME = (
    *(1.860936, -0.207383, 0.261557, -0.214562, -0.171253, -0.118167),
    *(-0.277557, 0.025668, 0.126701, -0.306756, -0.213076, 0.088728),
)


def test_the_training_split_is_the_published_one():
    split = japanese_vowels.train()
    assert np.bincount(split.labels).tolist() == [30] * 9
    np.testing.assert_array_equal(split.frames[0][0], np.float32(FIRST_FRAME))


def test_the_test_split_is_the_published_one():
    counts = np.bincount(japanese_vowels.test().labels).tolist()
    assert counts == [31, 35, 88, 44, 29, 24, 40, 50, 29]


@pytest.mark.parametrize("read", [japanese_vowels.train, japanese_vowels.test])
def test_every_utterance_is_a_read_only_contiguous_array_of_frames(read):
    split = read()
    assert split.labels.dtype == np.int64
    assert len(split.frames) == len(split.labels)
    for frames in split.frames:
        assert frames.dtype == np.float32
        assert frames.shape[1:] == (12,)
        assert 7 <= len(frames) <= 29
        assert frames.flags.c_contiguous
        assert not frames.flags.writeable
        assert np.isfinite(frames).all()


def test_aeon_is_not_imported():
    code = (
        "import sys; from millstream.datasets import japanese_vowels; japanese_vowels.train();"
        "print(sorted({'aeon', 'numba', 'sklearn'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_without_aeon_the_error_gives_the_line_that_installs_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ToolMissing, match=r"pip install --no-deps aeon"):
        japanese_vowels.train()


GOOD_CHANNELS = ":".join(["0.5,0.25"] * 12)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "No such file"),
        ("@classLabel true 1 2\n", "no line of data"),
        ("@data\n\n", "no line of data"),
        (f"@data\n{GOOD_CHANNELS}:10\n", "labelled 10"),
        (f"@data\n{GOOD_CHANNELS}:one\n", "labelled one"),
        ("@data\n1.0,2.0:3.0,4.0:1\n", r"shape \(2, 2\)"),
        ("@data\n1.0,2.0:3.0:1\n", "inhomogeneous"),
        (f"@data\n{GOOD_CHANNELS.replace('0.25', 'x', 1)}:1\n", "could not convert"),
    ],
)
def test_broken_data_is_refused_with_its_reason(tmp_path, monkeypatch, content, complaint):
    folder = tmp_path / "datasets" / "data" / "JapaneseVowels"
    folder.mkdir(parents=True)
    if content is not None:
        (folder / "JapaneseVowels_TRAIN.ts").write_text(content)
    spec = importlib.machinery.ModuleSpec("aeon", None, is_package=True)
    spec.submodule_search_locations = [str(tmp_path)]
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    with pytest.raises(DataInvalid, match=complaint):
        japanese_vowels.train()
