"""Operators that change the layout of elements and never their values.

Source of every definition: the ONNX operator specification, opset 21.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from millstream.errors import UnsupportedModel
from millstream.reference.precision import Operator

Integers = np.ndarray | Sequence[int]
PadMode = Literal["constant", "reflect", "edge", "wrap"]


def identity(x: np.ndarray) -> np.ndarray:
    """x"""
    return x


def dropout(
    x: np.ndarray, ratio: np.ndarray | None = None, training_mode: np.ndarray | None = None, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """x and a mask that is True everywhere. Raises UnsupportedModel in training mode."""
    if training_mode is not None and training_mode.item():
        raise UnsupportedModel(
            "Dropout in training mode",
            why="it is random",
            fix="call module.eval() before export",
        )
    return x, np.ones(x.shape, bool)


def shape(x: np.ndarray, start: int = 0, end: int | None = None) -> np.ndarray:
    """The extents of x from axis `start` up to `end`, as int64."""
    return np.array(x.shape[slice(start, end)], np.int64)


def size(x: np.ndarray) -> np.ndarray:
    """The number of elements of x, as int64."""
    return np.array(x.size, np.int64)


def reshape(x: np.ndarray, shape: Integers, allowzero: int = 0) -> np.ndarray:
    """x with other extents; -1 is inferred, 0 keeps the extent of x unless `allowzero`."""
    wanted = [int(extent) for extent in shape]
    if not allowzero:
        wanted = [x.shape[i] if extent == 0 else extent for i, extent in enumerate(wanted)]
    return x.reshape(wanted)


def flatten(x: np.ndarray, axis: int = 1) -> np.ndarray:
    """x as a matrix: the axes before `axis` against those from it on."""
    rows = int(np.prod(x.shape[:axis]))
    return x.reshape(rows, x.size // rows if rows else int(np.prod(x.shape[axis:])))


def squeeze(x: np.ndarray, axes: Integers | None = None) -> np.ndarray:
    """x without the given axes of extent 1, or without all of them."""
    return x.squeeze() if axes is None else x.squeeze(tuple(int(a) for a in axes))


def unsqueeze(x: np.ndarray, axes: Integers) -> np.ndarray:
    """x with axes of extent 1 inserted; `axes` count in the result."""
    return np.expand_dims(x, tuple(int(a) for a in axes))


def transpose(x: np.ndarray, perm: Sequence[int] | None = None) -> np.ndarray:
    """x with its axes in the order `perm`, or reversed."""
    return x.transpose(perm)


def expand(x: np.ndarray, shape: Integers) -> np.ndarray:
    """x broadcast against `shape`, in both directions."""
    wanted = tuple(int(extent) for extent in shape)
    return np.broadcast_to(x, np.broadcast_shapes(x.shape, wanted))


def tile(x: np.ndarray, repeats: Integers) -> np.ndarray:
    """x repeated along every axis."""
    return np.tile(x, tuple(int(r) for r in repeats))


def concat(*parts: np.ndarray, axis: int) -> np.ndarray:
    """The parts one behind the other along `axis`."""
    return np.concatenate(parts, axis=axis)


def split(
    x: np.ndarray, split: Integers | None = None, axis: int = 0, num_outputs: int = 0
) -> tuple[np.ndarray, ...]:
    """x cut along `axis` into parts of the given lengths, or into equal ones with a shorter last.

    Raises UnsupportedModel when neither lengths nor a number of parts are given, as before opset 18.
    """
    if split is None and not num_outputs:
        raise UnsupportedModel(
            "Split with neither lengths nor num_outputs",
            why="opset 18 and newer ask for one of them",
            fix="convert the model to opset 21",
        )
    if split is None:
        length = -(-x.shape[axis] // num_outputs)
        ends = [length * i for i in range(1, num_outputs)]
    else:
        ends = [int(end) for end in np.cumsum(split)[:-1]]
    return tuple(np.split(x, ends, axis=axis))


def pad(
    x: np.ndarray,
    pads: Integers,
    constant_value: np.ndarray | None = None,
    axes: Integers | None = None,
    mode: PadMode = "constant",
) -> np.ndarray:
    """x padded by `pads` (all begins, then all ends) on the given axes; a negative pad crops."""
    chosen = range(x.ndim) if axes is None else [int(a) for a in axes]
    begins, ends = np.split(np.asarray(pads), 2)
    pairs = np.zeros((x.ndim, 2), int)
    for axis, begin, end in zip(chosen, begins, ends, strict=True):
        pairs[axis] = begin, end
    kept = tuple(slice(max(-b, 0), n - max(-e, 0)) for (b, e), n in zip(pairs, x.shape, strict=True))
    widths = np.maximum(pairs, 0)
    if mode == "constant":
        return np.pad(x[kept], widths, constant_values=0 if constant_value is None else constant_value.item())
    return np.pad(x[kept], widths, mode=mode)


def depth_to_space(x: np.ndarray, blocksize: int, mode: str = "DCR") -> np.ndarray:
    """Channels of x (N, C, H, W) moved into blocks of pixels; `mode` is the order of the channel index:
    DCR has the block before the depth, CRD the depth before the block."""
    n, c, h, w = x.shape
    b, depth = blocksize, c // blocksize**2
    if mode == "DCR":
        blocks = x.reshape(n, b, b, depth, h, w).transpose(0, 3, 4, 1, 5, 2)
    else:
        blocks = x.reshape(n, depth, b, b, h, w).transpose(0, 1, 4, 2, 5, 3)
    return blocks.reshape(n, depth, h * b, w * b)


def space_to_depth(x: np.ndarray, blocksize: int) -> np.ndarray:
    """Blocks of pixels of x (N, C, H, W) moved into channels; the inverse of `depth_to_space` (DCR)."""
    n, c, h, w = x.shape
    b = blocksize
    blocks = x.reshape(n, c, h // b, b, w // b, b).transpose(0, 3, 5, 1, 2, 4)
    return blocks.reshape(n, c * b * b, h // b, w // b)


OPERATORS: dict[str, Operator] = {
    "Concat": concat,
    "DepthToSpace": depth_to_space,
    "Dropout": dropout,
    "Expand": expand,
    "Flatten": flatten,
    "Identity": identity,
    "Pad": pad,
    "Reshape": reshape,
    "Shape": shape,
    "Size": size,
    "SpaceToDepth": space_to_depth,
    "Split": split,
    "Squeeze": squeeze,
    "Tile": tile,
    "Transpose": transpose,
    "Unsqueeze": unsqueeze,
}
