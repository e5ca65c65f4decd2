"""Everything that can go wrong on the device: one class per way to be wrong.

Every error says what happened, where (file, member, tensor), why, and what to do about it.
`exit_code` is what the command line exits with: 1 a check failed, 2 usage, 3 a tool is missing,
4 unsupported model, 70 internal. The toolchain's own errors are in `millstream.errors`.
"""

from __future__ import annotations

from typing import ClassVar


class MillstreamError(Exception):
    """Base of every error that Millstream raises on purpose."""

    exit_code: ClassVar[int] = 70

    def __init__(self, what: str, *, where: str = "", why: str = "", fix: str = "") -> None:
        self.what = what
        self.where = where
        self.why = why
        self.fix = fix
        place = f" ({where})" if where else ""
        reason = f": {why}" if why else ""
        remedy = f"\n  to fix: {fix}" if fix else ""
        super().__init__(f"{what}{place}{reason}{remedy}")


# --- reading a bundle -------------------------------------------------------------------------


class BundleError(MillstreamError):
    """A bundle that cannot be trusted or understood; nothing of it was loaded."""

    exit_code = 1


class BundleNotFound(BundleError):
    """No file or folder that can be read at the given path."""

    exit_code = 2


class NotABundle(BundleError):
    """The file is not a bundle, or it was cut short."""


class MemberMissing(BundleError):
    """The manifest names a member that the bundle does not hold."""


class MemberUnknown(BundleError):
    """The bundle holds a member that the manifest does not name."""


class MemberUnsafe(BundleError):
    """A member is stored in a way that is never written: compressed, linked, overlapping, outside."""


class MemberCorrupt(BundleError):
    """The bytes of a member are not the bytes that the manifest promises."""


class BundleTooLarge(BundleError):
    """A member, or all of them together, exceed the reader's limits."""


class ManifestInvalid(BundleError):
    """The manifest does not follow the format."""


class FormatTooNew(BundleError):
    """The bundle was written in a format version that this runtime does not know."""


class TensorsInvalid(BundleError):
    """A safetensors member breaks its format, or holds other tensors than the model asks for."""


class SignatureMissing(BundleError):
    """Policy asks for a signature and the bundle has none."""


class SignatureInvalid(BundleError):
    """The signature does not belong to this manifest, or to none of the trusted keys."""


class PlanInvalid(BundleError):
    """The program plan of a compiled target breaks its own rules."""


class LibraryMissing(MillstreamError):
    """A Python library that this request needs is not installed."""

    exit_code = 3


# --- opening a backend ------------------------------------------------------------------------


class BackendError(MillstreamError):
    """A backend cannot be opened here."""

    exit_code = 3


class BackendUnknown(BackendError):
    """No backend of that name exists, or the bundle has no target for it."""

    exit_code = 2


class BackendMissing(BackendError):
    """The library that the backend runs on is not installed."""


class BackendRefused(BackendError):
    """The backend's library is here and refuses the compiled target."""

    exit_code = 1


class MachineMismatch(BackendError):
    """The compiled target was made for another kind of machine."""

    exit_code = 1


class NoBackendOpens(BackendError):
    """None of the bundle's targets can run on this machine."""


# --- streaming --------------------------------------------------------------------------------


class StreamError(MillstreamError):
    """A frame or a call that the stream refuses; its state is untouched."""

    exit_code = 2


class WrongShape(StreamError):
    """A frame, mask or chunk has another shape than the model takes."""


class WrongDtype(StreamError):
    """A frame has another dtype than the model takes; nothing is converted behind your back."""


class FramesUnchecked(StreamError):
    """Frames that lie on a device, where the policy for NaN cannot look at them."""


class NonFiniteInput(StreamError):
    """A frame holds NaN or infinity and the stream's policy is to refuse."""


class StreamClosed(StreamError):
    """The stream was closed, or flushed to its end, and cannot take more frames."""


class BatchFixed(StreamError):
    """The model was exported for one batch size and another was asked for."""


class SnapshotInvalid(StreamError):
    """The bytes are not a snapshot, were cut short, or come from a newer version."""


class SnapshotMismatch(StreamError):
    """The snapshot belongs to another model."""


# --- frames through pipes and sockets ---------------------------------------------------------


class RowCutShort(StreamError):
    """The bytes of a stream ended within a row."""


class MessageInvalid(StreamError):
    """A client sent what is no message of the protocol; its stream was ended."""


class AddressInvalid(StreamError):
    """The address to serve at is not unix:PATH, or the path is longer than the system takes."""


class AddressTaken(StreamError):
    """Another server listens there, or a file that is no socket is in the way."""


class ServerFull(StreamError):
    """As many clients as the server takes are connected."""


class ServerStopped(StreamError):
    """The server ends, and with it the streams of its clients."""
