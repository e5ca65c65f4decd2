"""Everything that can go wrong on the way to a device; whatever it is, the version that ran there stays."""

from __future__ import annotations

from millstream.errors import UsageError
from millstream_runtime.errors import MillstreamError


class AddressUnknown(UsageError):
    """The address of a device is not ssh://[user@]host[:port] or adb:SERIAL."""


class FleetInvalid(UsageError):
    """devices.toml cannot be read; every entry that is wrong is listed."""


class NothingToRollBack(UsageError):
    """The device has no version before the present one."""


class DeployError(MillstreamError):
    """Base of what keeps a bundle from a device."""

    exit_code = 1


class DeviceUnreachable(DeployError):
    """No connection to the device: its name, the network, or its server."""


class HostKeyRefused(DeployError):
    """The key of the device is unknown, or not the one that is known: it may be another machine."""


class LoginRefused(DeployError):
    """The device does not take the user or the key."""


class TransferBroken(DeployError):
    """The connection ended before all was there, or what came is not what was sent."""


class DeviceFull(DeployError):
    """The device has no room for the bundle and what goes with it."""


class DeviceIncapable(DeployError):
    """The device lacks a program that a deployment takes, such as tar."""


class PythonMissing(DeployError):
    """The device has no Python that is new enough, or no NumPy for it."""


class NoTargetFits(DeployError):
    """Neither a target of the bundle nor one that can be built runs on a machine of this kind."""

    exit_code = 4


class DeviceProofFailed(DeployError):
    """The golden frames give other numbers on the device, or the step does not run there."""


class CommandFailed(DeployError):
    """A command failed on the device, for a reason that only its message tells."""


class WheelMissing(DeployError):
    """pip finds no wheel of NumPy for the device."""

    exit_code = 3
