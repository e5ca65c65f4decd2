"""Who made a bundle: an Ed25519 signature over the exact bytes of `manifest.json`.

The manifest holds the hash of every other member, so the signature covers the whole bundle.
"""

from __future__ import annotations

from collections.abc import Collection

from millstream_runtime import strict_json
from millstream_runtime.errors import LibraryMissing, SignatureInvalid, SignatureMissing

MEMBER = "manifest.sig"


def verify(manifest: bytes, signature: bytes | None, trusted_keys: Collection[str]) -> None:
    """Raise unless `signature` is by one of the trusted public keys (64 hex digits each).

    Raises SignatureMissing, SignatureInvalid, LibraryMissing.
    """
    if signature is None:
        raise SignatureMissing(
            "the bundle is not signed", fix="sign it, or open it without `trusted_keys` if you trust it"
        )
    key, signed = _parse(signature)
    if key.hex() not in {trusted.lower() for trusted in trusted_keys}:
        raise SignatureInvalid("signed by a key that is not trusted", where=MEMBER, why=key.hex())
    _check(manifest, key, signed)


def public_key(signature: bytes) -> str:
    """The key (64 hex digits) that the member `manifest.sig` names; nothing is checked by it.

    Raises SignatureInvalid when the member cannot be read.
    """
    return _parse(signature)[0].hex()


def _parse(signature: bytes) -> tuple[bytes, bytes]:
    """The public key (32 bytes) and the signature (64 bytes)."""
    try:
        fields = strict_json.loads(signature)
        key, signed = bytes.fromhex(fields["public_key"]), bytes.fromhex(fields["signature"])
    except (ValueError, KeyError, TypeError) as error:
        raise SignatureInvalid("the signature cannot be read", where=MEMBER, why=str(error)) from error
    if (len(key), len(signed), len(fields)) != (32, 64, 2):
        raise SignatureInvalid("the signature has another form than Ed25519's", where=MEMBER)
    return key, signed


def _check(manifest: bytes, key: bytes, signed: bytes) -> None:
    try:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    except ImportError as error:
        raise LibraryMissing(
            "signatures cannot be checked here",
            why="cryptography is not installed",
            fix="pip install 'millstream[sign]'",
        ) from error
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signed, manifest)
    except (InvalidSignature, ValueError) as error:
        raise SignatureInvalid("the signature does not belong to this manifest", where=MEMBER) from error
