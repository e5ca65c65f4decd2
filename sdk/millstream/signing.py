"""Ed25519 keys, and the signature that a bundle may carry (`millstream_runtime.signature` checks it)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from millstream.errors import KeyUnusable, ToolMissing
from millstream_runtime import strict_json

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


@dataclass(frozen=True)
class SigningKey:
    """A private key. Give `public_key` to those who shall trust your bundles."""

    private: Ed25519PrivateKey

    @property
    def public_key(self) -> str:
        """The public half, 64 hex digits, as `trusted_keys` takes it."""
        return self.private.public_key().public_bytes_raw().hex()

    def sign(self, manifest: bytes) -> bytes:
        """The member `manifest.sig` for the exact bytes of `manifest.json`."""
        signed = self.private.sign(manifest).hex()
        return strict_json.dumps({"public_key": self.public_key, "signature": signed})


def generate(path: str | os.PathLike[str]) -> SigningKey:
    """Make a key and write it to `path` as PEM, readable by its owner alone; never over a file.

    Raises KeyUnusable, ToolMissing.
    """
    _require_cryptography()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    private = Ed25519PrivateKey.generate()
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(pem)
    except OSError as error:
        raise KeyUnusable("the key cannot be written", where=os.fspath(path), why=str(error)) from error
    return SigningKey(private)


def load(path: str | os.PathLike[str]) -> SigningKey:
    """Read a key from an unencrypted PEM file. Raises KeyUnusable, ToolMissing."""
    _require_cryptography()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        with open(path, "rb") as file:
            private = load_pem_private_key(file.read(), password=None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise KeyUnusable("the key cannot be read", where=os.fspath(path), why=str(error)) from error
    if not isinstance(private, Ed25519PrivateKey):
        raise KeyUnusable("the key is of another kind than Ed25519", where=os.fspath(path))
    return SigningKey(private)


def _require_cryptography() -> None:
    import importlib.util

    if importlib.util.find_spec("cryptography") is None:
        raise ToolMissing("signing needs cryptography", fix="pip install 'millstream[sign]'")
