"""The manifest: what it accepts reads back equal, and everything else is refused by name and place."""

import copy
from typing import Any

import pytest
from runtime_builders import contents, counter, running_sum, with_target_file

from millstream.package import assemble
from millstream_runtime.errors import FormatTooNew, ManifestInvalid
from millstream_runtime.spec import Framing, Manifest


def plain() -> dict[str, Any]:
    """A manifest with every kind of field: framing, look-ahead, states with and without fill, targets."""
    manifest, _ = assemble(with_target_file(contents(counter())))
    return manifest.to_json()


def places(value: Any, path: tuple = ()) -> list[tuple]:
    """The path of every value in a JSON document, but inside the free-form mappings."""
    inner: list[tuple] = []
    if isinstance(value, dict) and path not in (("provenance",), ("options",)):
        inner = [p for key, v in value.items() for p in places(v, (*path, key))]
    elif isinstance(value, list):
        inner = [p for i, v in enumerate(value) for p in places(v, (*path, i))]
    return [path, *inner] if path else inner


def changed(path: tuple, value: Any) -> dict[str, Any]:
    document = copy.deepcopy(plain())
    parent = document
    for key in path[:-1]:
        parent = parent[key]
    parent[path[-1]] = value
    return document


def test_round_trip():
    document = plain()
    assert Manifest.from_json(document).to_json() == document


STRANGE = (None, True, -1, 1.5, "", "x", "a\nb", "x" * 300, [], [-1], {}, {"x": 1}, 2**60, float("inf"))


@pytest.mark.parametrize("path", places(plain()), ids=lambda path: ".".join(map(str, path)))
def test_every_field_takes_its_own_kind_or_refuses(path):
    """Accepted means understood: the manifest says again what the document said."""
    refused = 0
    for value in STRANGE:
        document = changed(path, value)
        try:
            assert Manifest.from_json(document).to_json() == document
        except (ManifestInvalid, FormatTooNew):
            refused += 1
    assert refused >= len(STRANGE) - 5


def fields(document: dict[str, Any]) -> list[tuple]:
    return [path for path in places(document) if isinstance(path[-1], str)]


@pytest.mark.parametrize("path", fields(plain()), ids=lambda path: ".".join(map(str, path)))
def test_no_field_may_be_missing_or_unknown(path):
    document = plain()
    parent = document
    for key in path[:-1]:
        parent = parent[key]
    value = parent.pop(path[-1])
    with pytest.raises(ManifestInvalid):
        Manifest.from_json(document)
    parent[path[-1]], parent["surprise"] = value, 1
    with pytest.raises(ManifestInvalid, match="surprise"):
        Manifest.from_json(document)


CONTRADICTIONS = {
    "rounded to a float": (("model", "states", 1, "rounded"), True),
    "input twice": (("model", "states", 0, "name"), "x"),
    "output twice": (("model", "states", 0, "next_name"), "y"),
    "target twice": (("targets", 1, "name"), "onnxruntime"),
    "no input": (("model", "inputs"), []),
    "no output": (("model", "outputs"), []),
    "look-ahead without valid": (("model", "look_ahead"), 3),
    "valid without look-ahead": (("model", "valid"), "valid"),
    "frame shorter than its hop": (("model", "framing"), {"hop": 3, "length": 2}),
    "framing of another length": (("model", "framing"), {"hop": 1, "length": 3}),
    "fill of another kind": (("model", "states", 0, "fill"), 0.5),
    "fill true for an integer": (("model", "states", 0, "fill"), True),
    "fill out of range": (("model", "states", 0, "fill"), 2**63),
    "array stored for no state": (("model", "states", 1, "fill"), 0.0),
    "fill infinite in its dtype": (("model", "states", 1, "fill"), 1e300),
    "dtype unknown": (("model", "inputs", 0, "dtype"), "complex64"),
    "tensor too large": (("model", "inputs", 0, "shape"), [2**20, 2**20]),
    "sample rate zero": (("model", "sample_rate"), 0),
    "target with a slash": (("targets", 1, "name"), "bo/ard"),
    "file of another target": (("targets", 0, "files"), ["targets/board/firmware.bin"]),
    "file that is no member": (("targets", 1, "files"), ["targets/board/other.bin"]),
    "the manifest as a target's file": (("targets", 0, "files"), ["manifest.json"]),
    "model hash differs": (("model_sha256",), "0" * 64),
    "hash in capitals": (("members", "step.onnx", "sha256"), "A" * 64),
    "version zero": (("format_version",), 0),
}


@pytest.mark.parametrize(("path", "value"), CONTRADICTIONS.values(), ids=CONTRADICTIONS.keys())
def test_contradictions_are_refused(path, value):
    with pytest.raises(ManifestInvalid):
        Manifest.from_json(changed(path, value))


def test_labels_name_every_element_of_the_output():
    spec = Manifest.from_json(changed(("model", "labels"), ["left", "right"])).model
    assert spec.outputs[0].shape[-1] == len(spec.labels)
    with pytest.raises(ManifestInvalid, match="3 labels"):
        Manifest.from_json(changed(("model", "labels"), ["left", "right", "up"]))


def test_framing_that_fits_is_taken():
    manifest, _ = assemble(contents(running_sum(4, framing=Framing(hop=2, length=4))))
    assert manifest.model.framing == Framing(2, 4)
