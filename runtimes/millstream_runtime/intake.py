"""The door of a stream: a frame comes in only with the exact shape and dtype that the model takes."""

from __future__ import annotations

from typing import Any

import numpy as np

from millstream_runtime.errors import FramesUnchecked, StreamError, WrongDtype, WrongShape
from millstream_runtime.nonfinite import Policy, propagate

#: A frame of one value may be a NumPy scalar.
_FRAMES = (np.ndarray, np.generic)


class Intake:
    """One input's buffer, seen as frames of one shape, and the policy for NaN and infinity."""

    __slots__ = ("_dtype", "_flat", "_name", "_policy", "_shape", "buffer")

    def __init__(self, name: str, buffer: np.ndarray, policy: Policy) -> None:
        self.buffer = buffer
        self._name = name
        self._shape = buffer.shape
        self._dtype = buffer.dtype
        self._flat = buffer.reshape(-1)
        self._policy = policy if buffer.dtype.kind == "f" else propagate

    def take(self, frame: np.ndarray) -> None:
        """Copy a frame into the buffer and apply the policy to the copy.

        Raises WrongShape, WrongDtype, and what the policy raises.
        """
        self.admit(frame)
        self._policy(self._flat, self._name)

    def admit(self, frame: np.ndarray) -> None:
        """Copy a frame into the buffer. Raises WrongShape, WrongDtype."""
        if type(frame) is not np.ndarray and not isinstance(frame, _FRAMES):
            raise refusal(self._name, frame, self._shape, self._dtype)
        if frame.dtype != self._dtype or frame.shape != self._shape:
            raise refusal(self._name, frame, self._shape, self._dtype)
        self.buffer[...] = frame

    def admit_elsewhere(self, shape: tuple[int, ...], dtype: str) -> None:
        """Look at the shape and the dtype of frames that stay on a device.

        Raises WrongShape, WrongDtype, and FramesUnchecked where there is a policy to apply.
        """
        if shape != self._shape or dtype != self._dtype:
            raise refusal(self._name, np.broadcast_to(np.zeros((), dtype), shape), self._shape, self._dtype)
        if self._policy is not propagate:
            raise FramesUnchecked(
                "frames on a device are not looked at for NaN and infinity",
                where=f"input {self._name!r}",
                fix="make the pool with nonfinite=propagate, or give NumPy arrays",
            )

    def sift(self) -> None:
        """Apply the policy to what is in the buffer."""
        self._policy(self._flat, self._name)

    def chunk(self, samples: np.ndarray, sample_shape: tuple[int, ...]) -> np.ndarray:
        """A copy of a whole chunk (n, *sample_shape), the policy applied to it.

        Raises WrongShape, WrongDtype, and what the policy raises.
        """
        shape = ("n", *sample_shape)
        if not isinstance(samples, np.ndarray) or samples.dtype != self._dtype:
            raise refusal(self._name, samples, shape, self._dtype)
        if samples.ndim == 0 or samples.shape[1:] != sample_shape:
            raise refusal(self._name, samples, shape, self._dtype)
        copy = np.array(samples, order="C")
        self._policy(copy.reshape(-1), self._name)
        return copy


def refusal(name: str, given: Any, shape: tuple[int | str, ...], dtype: np.dtype) -> StreamError:
    """The error that says what was given and what is wanted."""
    where = f"input {name!r}"
    wanted = f"{dtype} of shape ({', '.join(map(str, shape))})"
    if not isinstance(given, _FRAMES):
        return WrongDtype(
            f"a {type(given).__name__} is no frame",
            where=where,
            why=f"the model takes a NumPy array, {wanted}",
            fix=f"np.asarray(frame, np.{dtype})",
        )
    if given.dtype != dtype:
        return WrongDtype(
            f"a frame of {given.dtype}",
            where=where,
            why=f"the model takes {wanted}",
            fix=f"convert it yourself, knowing what is lost: frame.astype(np.{dtype})",
        )
    return WrongShape(f"a frame of shape {given.shape}", where=where, why=f"the model takes {wanted}")
