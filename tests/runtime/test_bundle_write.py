"""Writing bundles: deterministic bytes, readable by other tools, and never a half-written file."""

import dataclasses
import errno
import hashlib
import json
import os
import resource
import zipfile

import numpy as np
import pytest
from runtime_builders import contents, counter, running_sum, with_target_file

from millstream import errors as host_errors
from millstream.package import write
from millstream_runtime import errors, read


def test_same_contents_same_bytes(tmp_path):
    given = with_target_file(contents(counter()))
    turned = dataclasses.replace(
        given,
        report=dict(reversed({"b": 1, "a": [1.5, None]}.items())),
    )
    straight = dataclasses.replace(given, report={"a": [1.5, None], "b": 1})
    write(tmp_path / "1.mill", straight)
    write(tmp_path / "2.mill", turned)
    assert (tmp_path / "1.mill").read_bytes() == (tmp_path / "2.mill").read_bytes()


def test_other_tools_read_it(tmp_path):
    """An ordinary zip with right checksums, every member stored and aligned, the manifest first."""
    manifest = write(tmp_path / "b.mill", with_target_file(contents(counter())))
    raw = (tmp_path / "b.mill").read_bytes()
    with zipfile.ZipFile(tmp_path / "b.mill") as archive:
        assert archive.testzip() is None
        assert set(archive.namelist()) == {"manifest.json", *manifest.members}
        assert archive.namelist()[0] == "manifest.json"
        for info in archive.infolist():
            assert info.compress_type == zipfile.ZIP_STORED
            data = archive.read(info)
            start = raw.index(data, info.header_offset)
            assert start % 64 == 0
        document = json.loads(archive.read("manifest.json"))
    assert document["model_sha256"] == hashlib.sha256(contents(counter()).step).hexdigest()


def test_what_was_written_is_read(tmp_path):
    given = with_target_file(contents(counter()))
    manifest = write(tmp_path / "b.mill", given)
    bundle = read(tmp_path / "b.mill")
    assert bundle.manifest == manifest
    assert bundle.manifest.model == given.model
    assert bundle.members["step.onnx"] == given.step
    assert bundle.files(manifest.targets[1]) == {"firmware.bin": bytes(range(100))}
    assert list(bundle.files(manifest.targets[0])) == ["step.onnx"]
    n, h, none = bundle.initial()
    assert (n.dtype, n.shape, n) == (np.int64, (), 0)
    np.testing.assert_array_equal(h, np.array([1, -2], np.float32))
    assert none.shape == (0,)


def test_folder_and_file_hold_the_same(tmp_path):
    given = with_target_file(contents(counter()))
    write(tmp_path / "b.mill", given)
    write(f"{tmp_path}/folder/", given)
    file, folder = read(tmp_path / "b.mill"), read(tmp_path / "folder")
    assert file.manifest == folder.manifest
    assert file.members == folder.members


def test_writing_again_replaces(tmp_path):
    for path in (f"{tmp_path}/b.mill", f"{tmp_path}/b/"):
        write(path, with_target_file(contents(counter())))
        write(path, contents(running_sum()))
        assert read(path).manifest.model.name == "running_sum"
    assert sorted(os.listdir(tmp_path)) == ["b", "b.mill"]


def test_permissions_follow_the_umask(tmp_path):
    write(tmp_path / "b.mill", contents(running_sum()))
    (tmp_path / "plain").write_bytes(b"")
    assert (tmp_path / "b.mill").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize("path", ["b.mill", "b/"])
def test_disk_full_keeps_the_old_bundle(tmp_path, monkeypatch, path):
    write(f"{tmp_path}/{path}", contents(running_sum()))

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(host_errors.WriteFailed, match="No space left"):
        write(f"{tmp_path}/{path}", contents(counter()))
    assert read(f"{tmp_path}/{path}").manifest.model.name == "running_sum"
    assert os.listdir(tmp_path) == [path.rstrip("/")]


def test_file_system_that_takes_only_a_part(tmp_path):
    """A real write that stops half-way: the process may write no file beyond 1000 bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(host_errors.WriteFailed):
            write(tmp_path / "b.mill", contents(running_sum()))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert os.listdir(tmp_path) == []


def test_place_that_cannot_be_written(tmp_path):
    with pytest.raises(host_errors.WriteFailed):
        write(tmp_path / "nowhere" / "b.mill", contents(running_sum()))
    (tmp_path / "b.mill").mkdir()
    (tmp_path / "b.mill" / "precious").write_bytes(b"x")
    for path in (f"{tmp_path}/b.mill", f"{tmp_path}/b.mill/"):
        with pytest.raises(host_errors.WriteFailed):
            write(path, contents(running_sum()))
    assert os.listdir(tmp_path) == ["b.mill"]
    assert os.listdir(tmp_path / "b.mill") == ["precious"]


def test_contents_that_contradict_each_other(tmp_path):
    good = contents(counter())
    golden = good.golden
    shorter = dataclasses.replace(golden, outputs=tuple(y[:-1] for y in golden.outputs))
    wider = dataclasses.replace(golden, final_states=tuple(s.astype(np.float64) for s in golden.final_states))
    model = dataclasses.replace(good.model, look_ahead=1)
    for bad, error in (
        (dataclasses.replace(good, initial={}), errors.ManifestInvalid),
        (dataclasses.replace(good, model=model), errors.ManifestInvalid),
        (dataclasses.replace(good, golden=shorter), errors.TensorsInvalid),
        (dataclasses.replace(good, golden=wider), errors.TensorsInvalid),
    ):
        with pytest.raises(error):
            write(tmp_path / "b.mill", bad)
    assert os.listdir(tmp_path) == []
