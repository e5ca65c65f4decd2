"""Signed bundles: a policy of trusted keys takes the right signature and nothing else."""

import json
import os
import stat
import sys

import pytest
from runtime_builders import contents, counter, running_sum

from millstream import errors as host_errors
from millstream import signing
from millstream.package import assemble, write
from millstream_runtime import archive, errors, load, read


@pytest.fixture
def key(tmp_path):
    return signing.generate(tmp_path / "key.pem")


@pytest.fixture
def signed(tmp_path, key):
    path = tmp_path / "signed.mill"
    write(path, contents(running_sum()), signing_key=key)
    return path


def test_trusted_signature_is_taken(signed, key):
    assert load(signed, trusted_keys=["0" * 64, key.public_key.upper()]).backend == "onnxruntime"
    assert read(signed).manifest.model.name == "running_sum"


def test_key_survives_its_file(tmp_path, key):
    again = signing.load(tmp_path / "key.pem")
    assert again.public_key == key.public_key
    assert again.sign(b"m") == key.sign(b"m")
    assert stat.S_IMODE(os.stat(tmp_path / "key.pem").st_mode) == 0o600


def test_unsigned_and_untrusted(tmp_path, signed, key):
    write(tmp_path / "plain.mill", contents(running_sum()))
    with pytest.raises(errors.SignatureMissing):
        read(tmp_path / "plain.mill", trusted_keys=[key.public_key])
    for keys in ([], ["0" * 64], ["nonsense"]):
        with pytest.raises(errors.SignatureInvalid):
            read(signed, trusted_keys=keys)


def resigned(path, signature: bytes, other: bool = False):
    _, members = assemble(contents(counter() if other else running_sum()))
    path.write_bytes(b"".join(archive.pack(members | {"manifest.sig": signature})))
    return path


def test_signature_of_another_manifest(tmp_path, signed, key):
    _, members = assemble(contents(running_sum()))
    signature = key.sign(members["manifest.json"])
    trusted = [key.public_key]
    assert read(resigned(tmp_path / "a.mill", signature), trusted_keys=trusted)
    with pytest.raises(errors.SignatureInvalid):
        read(resigned(tmp_path / "a.mill", signature, other=True), trusted_keys=trusted)


@pytest.mark.parametrize("change", ["signature", "public_key", "extra", "short", "no json", "list", "number"])
def test_malformed_signatures(tmp_path, key, change):
    _, members = assemble(contents(running_sum()))
    fields = json.loads(key.sign(members["manifest.json"]))
    flipped = "0" if fields["signature"][0] != "0" else "1"
    bad = {
        "signature": fields | {"signature": flipped + fields["signature"][1:]},
        "public_key": fields | {"public_key": "0" * 64},
        "extra": fields | {"more": 1},
        "short": fields | {"signature": fields["signature"][:-2]},
        "list": [],
        "number": fields | {"signature": 5},
    }
    data = b"{" if change == "no json" else json.dumps(bad[change]).encode()
    with pytest.raises(errors.SignatureInvalid):
        read(resigned(tmp_path / "b.mill", data), trusted_keys=[key.public_key, "0" * 64])


def test_without_the_library(signed, key, monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "cryptography"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "cryptography", None)  # an import of None fails
    with pytest.raises(errors.LibraryMissing, match="pip install"):
        read(signed, trusted_keys=[key.public_key])
    assert read(signed)


def test_keys_that_cannot_be_used(tmp_path, key):
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    other = X25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "other.pem").write_bytes(other)
    (tmp_path / "text.pem").write_bytes(b"no key")
    for name in ("other.pem", "text.pem", "nothing.pem"):
        with pytest.raises(host_errors.KeyUnusable):
            signing.load(tmp_path / name)
    with pytest.raises(host_errors.KeyUnusable):
        signing.generate(tmp_path / "key.pem")
    assert signing.load(tmp_path / "key.pem").public_key == key.public_key
