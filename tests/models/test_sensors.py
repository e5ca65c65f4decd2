"""The trained models of a watch and of a pulse: what they find, as a whole and sample by sample."""

import importlib.machinery
import importlib.util

import numpy as np
import pytest
import torch

import millstream
from millstream.datasets import aeon_files, basic_motions, internal_bleeding
from millstream.errors import DataInvalid, ToolMissing
from millstream.loading import load
from millstream_models import CATALOGUE
from millstream_models.pulse import AHEAD


def trained(name):
    return load(name).module.requires_grad_(False)


def streamed(model, x):
    """All frames (B, T, ...) one by one."""
    state, outputs = model.initial_state(len(x)), []
    for frame in x.unbind(1):
        y, state = model.step(frame, state)
        outputs.append(y)
    return torch.stack(outputs, 1)


def test_the_motions_are_the_published_split():
    for split in (basic_motions.train(), basic_motions.test()):
        assert np.bincount(split.labels).tolist() == [10] * 4
        assert all(frames.shape == (100, 6) and frames.dtype == np.float32 for frames in split.frames)
    entry = next(entry for entry in CATALOGUE if entry.name == "motion")
    assert entry.labels == basic_motions.ACTIVITIES
    assert entry.input_shape == (basic_motions.CHANNELS,)
    assert entry.sample_rate == basic_motions.FRAME_RATE


def test_at_least_38_of_the_40_test_recordings_are_named_right_streamed_as_well():
    split, model = basic_motions.test(), trained("motion")
    x = torch.tensor(np.stack(split.frames))
    whole, steps = model(x), streamed(model, x)
    assert int((whole[:, -1].argmax(-1).numpy() == split.labels).sum()) >= 38
    assert torch.equal(whole[:, -1].argmax(-1), steps[:, -1].argmax(-1))
    # Chunks against steps, a hundred samples of float32.
    assert float((whole - steps).abs().max()) < 1e-5 * float(whole.abs().max())


def test_the_record_is_the_published_one():
    samples, wrong = internal_bleeding.record()
    assert samples.shape == (7501, 1)
    assert np.flatnonzero(wrong).tolist() == list(range(4187, 4199))
    np.testing.assert_array_equal(internal_bleeding.train().frames[0], samples[:1200])


def test_the_most_surprising_sample_is_the_wrong_one_by_far():
    samples, _ = internal_bleeding.record()
    surprise = trained("pulse")(torch.tensor(samples)[None])[0, :, 0].numpy()[internal_bleeding.TRAINING :]
    at = np.arange(len(samples))[internal_bleeding.TRAINING :]
    near = (at > 4150) & (at < 4250)
    assert 4187 <= at[surprise.argmax()] < 4199 + AHEAD
    assert surprise[near].max() > 3 * surprise[~near].max()
    assert surprise[near].max() > 20 * np.median(surprise)


def test_surprise_is_the_distance_from_what_was_foretold():
    model, x = trained("pulse").double(), 70 + 20 * torch.rand(1, 9, 1, dtype=torch.float64)
    normal = (x - model.normalize.mean) * model.normalize.scale
    foretold = model.forecast(normal)[0]
    before = torch.cat((torch.zeros(AHEAD, 1).double(), foretold[:-AHEAD]))
    expected = (normal[0] - before).abs()
    torch.testing.assert_close(model(x)[0], expected, rtol=0, atol=1e-11)
    torch.testing.assert_close(streamed(model, x)[0], expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize("name", ["motion", "pulse"])
def test_an_export_is_proved_on_its_own_data(name):
    data = basic_motions.train() if name == "motion" else internal_bleeding.train()
    exported = millstream.export(load(name).module, data.frames, "onnxruntime")
    assert exported.ladder.passed


@pytest.mark.parametrize("content", ["timestamp,value\n1,2\n", "timestamp,value,is\n1,x,0\n", "head\n"])
def test_a_broken_record_is_refused(content, tmp_path, monkeypatch):
    path = tmp_path / "datasets" / "data" / "KDD-TSAD_135" / "135_UCR_Anomaly_InternalBleeding16_TEST.csv"
    path.parent.mkdir(parents=True)
    path.write_text(content)
    spec = importlib.machinery.ModuleSpec("aeon", None, is_package=True)
    spec.submodule_search_locations = [str(tmp_path)]
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    with pytest.raises(DataInvalid, match="the KDD-TSAD_135 data cannot be read"):
        internal_bleeding.record()


def test_without_aeon_every_data_set_says_what_installs_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for name in ("BasicMotions", "KDD-TSAD_135"):
        with pytest.raises(ToolMissing, match=f"the {name} data is not installed"):
            aeon_files.folder(name)
