"""The promise of docs/bundle.md: what version 1 wrote is read for ever.

`format_1/` was written once with `runtime_builders`: the bundle of `counter()` with a second target, and
the snapshot of a stream of it after five frames. When the format changes, add a folder; never touch an old
one.
"""

from pathlib import Path

import numpy as np
from runtime_builders import EXACT, contents, counter, frames, with_target_file

from millstream.package import assemble
from millstream_runtime import golden, load, read
from millstream_runtime.replay import replay

FORMAT_1 = Path(__file__).parent / "format_1"


def test_bundle_of_version_1():
    bundle = read(FORMAT_1 / "counter.mill")
    assert bundle.manifest.format_version == 1
    assert bundle.manifest.model == counter().spec
    assert bundle.files(bundle.manifest.targets[1]) == {"firmware.bin": bytes(range(100))}
    model = load(FORMAT_1 / "counter.mill")
    assert replay(model.core, golden.load(bundle.members["golden.safetensors"], model.spec), EXACT).passed


def test_snapshot_of_version_1():
    x = frames(counter(), 8)
    stream = load(FORMAT_1 / "counter.mill").stream()
    stream.load((FORMAT_1 / "counter.snapshot").read_bytes())
    assert stream.frames == 5
    y, even = counter().sequence(x)
    for t in range(5, 8):
        got = stream.step(x[t])
        np.testing.assert_array_equal(got[0], y[t])
        assert got[1] == even[t]


def test_the_manifest_says_today_what_it_said_then():
    """A field that is added, dropped or renamed without a new version shows here."""
    then = read(FORMAT_1 / "counter.mill").manifest.to_json()
    now, _ = assemble(with_target_file(contents(counter())))

    def keys(value: object) -> object:
        if isinstance(value, dict):
            return {key: keys(inner) for key, inner in value.items()}
        return [keys(inner) for inner in value] if isinstance(value, list) else type(value)

    assert keys(then) == keys(now.to_json())
