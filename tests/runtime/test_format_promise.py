"""The promise of docs/bundle.md: what each version wrote is read for ever.

`format_1/` and so on were each written once with `runtime_builders`: the bundle of `counter()` with a second
target, and the snapshot of a stream of it after five frames. When the format changes, add a folder; never
touch an old one.
"""

from pathlib import Path

import numpy as np
import pytest
from runtime_builders import EXACT, contents, counter, frames, with_target_file

from millstream.package import assemble
from millstream_runtime import golden, load, read
from millstream_runtime.replay import replay
from millstream_runtime.spec import FORMAT_VERSION

VERSIONS = range(1, FORMAT_VERSION + 1)


def folder(version: int) -> Path:
    return Path(__file__).parent / f"format_{version}"


@pytest.mark.parametrize("version", VERSIONS)
def test_bundle_of_a_version(version):
    bundle = read(folder(version) / "counter.mill")
    assert bundle.manifest.format_version == version
    assert bundle.manifest.model == counter().spec
    assert bundle.files(bundle.manifest.targets[1]) == {"firmware.bin": bytes(range(100))}
    model = load(folder(version) / "counter.mill")
    assert replay(model.core, golden.load(bundle.members["golden.safetensors"], model.spec), EXACT).passed


@pytest.mark.parametrize("version", VERSIONS)
def test_snapshot_of_a_version(version):
    x = frames(counter(), 8)
    stream = load(folder(version) / "counter.mill").stream()
    stream.load((folder(version) / "counter.snapshot").read_bytes())
    assert stream.frames == 5
    y, even = counter().sequence(x)
    for t in range(5, 8):
        got = stream.step(x[t])
        np.testing.assert_array_equal(got[0], y[t])
        assert got[1] == even[t]


def test_the_manifest_says_today_what_it_said_then():
    """A field that is added, dropped or renamed without a new version shows here."""
    then = read(folder(FORMAT_VERSION) / "counter.mill").manifest.to_json()
    now, _ = assemble(with_target_file(contents(counter())))

    def keys(value: object) -> object:
        if isinstance(value, dict):
            return {key: keys(inner) for key, inner in value.items()}
        return [keys(inner) for inner in value] if isinstance(value, list) else type(value)

    assert keys(then) == keys(now.to_json())
