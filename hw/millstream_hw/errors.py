"""What can go wrong on the way to an FPGA."""

from __future__ import annotations

from millstream.errors import UsageError
from millstream_runtime.errors import MillstreamError


class ToolFailed(MillstreamError):
    """A program of the FPGA flow refused its input, or a simulated circuit stopped."""

    exit_code = 1


class DoesNotFit(MillstreamError):
    """The circuit needs more of something than the part has; everything that overflows is named."""

    exit_code = 1


class UnknownPart(UsageError):
    """No FPGA of that name is known."""


class BuildInvalid(UsageError):
    """The folder is no build, or a build of another version."""


class BitsDiffer(MillstreamError):
    """A simulated circuit gives other bits than the golden model."""

    exit_code = 1


class HeadersDiffer(MillstreamError):
    """hls4ml wrote C++ with other types, numbers or weights than the golden model has."""

    exit_code = 1


class UnknownBoard(UsageError):
    """No board of that name is known."""


class ClockUnreachable(UsageError):
    """No clock of that frequency can be made from the board's, or no serial line from it."""


class ClockMissed(MillstreamError):
    """The placed circuit is slower than the clock that the board would give it; no bitstream is made."""

    exit_code = 1
