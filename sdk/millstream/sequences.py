"""Example and labelled data: real frames for the proof, labels for the metric.

A data file is an `.npz` with `x` (N, T, ...) holding N sequences of frames, or (N, ...) holding N frames
of a stateless model; optionally `lengths` (N,) when sequences end before T, and integer labels `y`: (N,), one
for each sequence, or (N, T), one for each frame, -1 where a frame has none.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from millstream.errors import DataInvalid

#: What `sequences` accepts: one array (N, T, ...), or a list of arrays (T_i, ...). Tensors work as well.
Example = object


@dataclass(frozen=True)
class Sequences:
    """Sequences (T_i, *frame) of one dtype and frame shape, and what their outputs should say.

    `labels` are int64: (N,), of each sequence, which its last output tells; or (N, T), of each frame, -1
    where there is none; empty when there are no labels at all.
    """

    frames: tuple[np.ndarray, ...]
    labels: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))

    def __post_init__(self) -> None:
        _check(self)

    @property
    def asked(self) -> np.ndarray:
        """Which frames (N, longest) have a label, bool."""
        lengths = _lengths(self.frames)
        ticks = np.arange(lengths.max())
        if self.labels.ndim == 2:
            return self.labels[:, : len(ticks)] >= 0
        return (ticks == lengths[:, None] - 1) & bool(self.labels.size)

    @property
    def answers(self) -> np.ndarray:
        """The labels (M,) of the frames that have one, sequence by sequence."""
        return self.labels[:, : self.asked.shape[1]][self.asked] if self.labels.ndim == 2 else self.labels

    @property
    def questions(self) -> str:
        """How many labels of what there are, in words."""
        return f"{len(self.answers)} labelled {'frames' if self.labels.ndim == 2 else 'sequences'}"


def sequences(example: Example, labels: object = ()) -> Sequences:
    """Read an example given in Python. Raises DataInvalid.

    An array or tensor (N, T, ...) is what `forward` takes; a list or tuple holds sequences (T_i, ...) of
    different lengths.
    """
    items = example if isinstance(example, (list, tuple)) else list(_array(example))
    frames = tuple(np.array(_array(item), order="C") for item in items)
    return Sequences(frames, _array(labels).astype(np.int64))


def read(path: str | os.PathLike[str], time_axis: int = 1) -> Sequences:
    """Read a data file, or make `noise:TxAxB...`: Gaussian noise, T frames of shape (A, B, ...).

    The sizes are those of `forward`'s input without its batch; for a model without `step` there is no T.
    `time_axis` is the axis of time in that input, batch counted; the sequences have time in front.

    Raises DataInvalid.
    """
    text = os.fspath(path)
    if text.startswith("noise:"):
        return _noise(text.removeprefix("noise:"), time_axis)
    arrays = load_arrays(text)
    arrays["x"] = _time_first(arrays["x"], time_axis, text)
    return sequences(cut(arrays, text), arrays.get("y", ()))


def load_arrays(path: str) -> dict[str, np.ndarray]:
    """The arrays of an `.npz`, x among them. Raises DataInvalid."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files} if hasattr(archive, "files") else {}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise DataInvalid("the data cannot be read", where=path, why=str(error), fix=_FORMAT) from error
    if "x" not in arrays:
        raise DataInvalid("no array x", where=path, why=f"it holds {sorted(arrays) or 'none'}", fix=_FORMAT)
    return arrays


def cut(arrays: Mapping[str, np.ndarray], where: str) -> list[np.ndarray]:
    """The rows of x, each cut to its length where lengths are given. Raises DataInvalid."""
    x, lengths = arrays["x"], arrays.get("lengths")
    if lengths is None:
        return list(x)
    if x.ndim < 2 or lengths.shape != x.shape[:1] or not _counts(lengths, x.shape[1]):
        raise DataInvalid("lengths do not fit x", where=where, why=f"{lengths.shape} beside {x.shape}")
    return [row[:n] for row, n in zip(x, lengths, strict=True)]


def _counts(lengths: np.ndarray, most: int) -> bool:
    """Whether all are whole numbers from 0 to `most`."""
    return lengths.dtype.kind in "iu" and bool(((lengths >= 0) & (lengths <= most)).all())


def random_sequences(count: int, frames: int, shape: Sequence[int]) -> Sequences:
    """Seeded Gaussian noise, for shapes and speed only."""
    generator = np.random.default_rng(0)
    items = generator.standard_normal((count, frames, *shape)).astype(np.float32)
    return Sequences(tuple(items))


_FORMAT = (
    "save it with np.savez(path, x=frames) where x is (N, T, ...), optionally lengths, and y (N,) or (N, T)"
)


def _time_first(x: np.ndarray, time_axis: int, where: str) -> np.ndarray:
    if time_axis == 1:
        return x
    if not -x.ndim < time_axis < x.ndim or time_axis == 0:
        raise DataInvalid(f"no axis {time_axis} of time", where=where, why=f"x has shape {x.shape}")
    return np.moveaxis(x, time_axis, 1)


def _noise(text: str, time_axis: int) -> Sequences:
    try:
        sizes = [int(part) for part in text.split("x")]
        frames = sizes.pop(time_axis - 1 if time_axis > 0 else time_axis)
    except (ValueError, IndexError) as error:
        raise DataInvalid(
            f"noise:{text} is no size", fix="write noise:TxA, for example noise:64x40"
        ) from error
    return random_sequences(3, frames, sizes)


def _array(value: object) -> np.ndarray:
    """A NumPy array of an array, tensor or list of numbers."""
    detach = getattr(value, "detach", None)
    return np.asarray(detach().cpu().numpy() if detach else value)


def _check(data: Sequences) -> None:
    if not data.frames or any(item.ndim == 0 or len(item) == 0 for item in data.frames):
        raise DataInvalid("no frames", why="there is no sequence, or an empty one", fix=_FORMAT)
    kinds = {(item.shape[1:], str(item.dtype)) for item in data.frames}
    if len(kinds) > 1:
        raise DataInvalid("sequences of different frame shapes or dtypes", why=str(sorted(kinds)))
    dtype = data.frames[0].dtype
    if dtype.kind == "f" and not all(np.isfinite(item).all() for item in data.frames):
        raise DataInvalid(
            "example frames hold NaN or infinity", fix="give frames as the device will see them"
        )
    if dtype.kind not in "fiub":
        raise DataInvalid(f"frames of dtype {dtype}", fix="use numbers")
    _check_labels(data.labels, _lengths(data.frames))


def _check_labels(labels: np.ndarray, lengths: np.ndarray) -> None:
    """Of sequences with these lengths (N,)."""
    if labels.shape in ((0,), lengths.shape):
        return
    count, longest = len(lengths), lengths.max()
    if labels.ndim != 2 or len(labels) != count or labels.shape[1] < longest:
        raise DataInvalid(
            f"{labels.shape} labels for {count} sequences", why=f"the longest has {longest}", fix=_FORMAT
        )
    if (labels < 0).all() or (labels[np.arange(labels.shape[1]) >= lengths[:, None]] >= 0).any():
        raise DataInvalid(
            "labels of frames that are not there, or none",
            fix="write -1 for frames without, and behind the end",
        )


def _lengths(frames: Sequence[np.ndarray]) -> np.ndarray:
    """How many frames each sequence has, (N,)."""
    return np.array([len(each) for each in frames])
