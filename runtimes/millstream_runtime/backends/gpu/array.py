"""An array on a device, for other libraries to take or for the host to read."""

from __future__ import annotations

from typing import Any

import numpy as np

from millstream_runtime.backends.gpu import dlpack
from millstream_runtime.backends.gpu.device import Device, Memory


class DeviceArray:
    """A C-contiguous array that a pool owns.

    `torch.from_dlpack`, `cupy.from_dlpack` and others take it without a copy; `numpy` copies it to the host.
    """

    def __init__(self, device: Device, memory: Memory, shape: tuple[int, ...], dtype: str) -> None:
        self._device, self._memory = device, memory
        self.shape, self.dtype = shape, np.dtype(dtype)

    def numpy(self) -> np.ndarray:
        """A copy on the host."""
        copy = np.empty(self.shape, self.dtype)
        self._device.read(copy, self._memory)
        return copy

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._device.dlpack

    def __dlpack__(self, *, stream: Any = None, **options: Any) -> Any:
        """See DLPack. All that was asked of the device is done when it returns, whatever the stream."""
        self._device.finish()
        address = self._memory.address
        return dlpack.give(address, self.shape, self.dtype.name, self._device.dlpack, self._memory)
