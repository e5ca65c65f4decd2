"""Which output is the next value of which input: said by the user, or guessed and tried by stepping.

A graph whose input may have several frames can be tried: frames one by one, with the states carried over,
must give what all frames at once give. Another pairing of the same shapes gives something else.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import onnx.helper

from millstream.errors import OnnxUnusable
from millstream.importing.session import Session
from millstream.user_code import guarded, reason
from millstream_runtime.errors import MillstreamError

_FRAMES = 6
_TOLERANCE = 1e-4
_LARGEST_GUESS = 720


@dataclass(frozen=True)
class Trial:
    """How far stepping is from running at once, along the axis of the input that counts frames."""

    axis: int
    difference: float

    @property
    def passed(self) -> bool:
        return self.difference <= _TOLERANCE


def given(texts: Sequence[str], inputs: Sequence[str], outputs: Sequence[str]) -> dict[str, str]:
    """`input=output` texts as a mapping. Raises OnnxUnusable with every text that names nothing."""
    pairs, wrong = {}, []
    for text in texts:
        before, sign, after = text.partition("=")
        if not sign or before not in inputs or after not in outputs:
            wrong.append(text)
        pairs[before] = after
    if wrong:
        raise OnnxUnusable(
            f"no such state: {', '.join(wrong)}",
            why=f"inputs are {', '.join(inputs)}; outputs are {', '.join(outputs)}",
            fix="write --state input=output",
        )
    return pairs


def guesses(model: onnx.ModelProto, frame: str) -> Iterator[dict[str, str]]:
    """Every way to pair inputs other than the frame with outputs of like dtype and rank."""
    inputs = [v for v in model.graph.input if v.name != frame]
    outputs = list(model.graph.output)
    choices = [[o for o in outputs if _alike(i, o)] for i in inputs]
    found = 0
    for picked in itertools.product(*choices):
        names = [value.name for value in picked]
        if len(set(names)) == len(names) and found < _LARGEST_GUESS:
            found += 1
            yield {i.name: name for i, name in zip(inputs, names, strict=True)}


def _alike(before: onnx.ValueInfoProto, after: onnx.ValueInfoProto) -> bool:
    a, b = before.type.tensor_type, after.type.tensor_type
    if a.elem_type != b.elem_type or len(a.shape.dim) != len(b.shape.dim):
        return False
    sizes = zip(a.shape.dim, b.shape.dim, strict=True)
    return all(not x.dim_value or not y.dim_value or x.dim_value == y.dim_value for x, y in sizes)


def frame_axes(model: onnx.ModelProto, frame: str) -> list[int]:
    """Axes of the frame's input whose size is free and that may count frames.

    One that another input has as well, by name, is the batch; so is the first when another input has a free
    size without a name.
    """
    inputs = {value.name: value.type.tensor_type.shape.dim for value in model.graph.input}
    others = [dim for name, dims in inputs.items() if name != frame for dim in dims if not dim.dim_value]
    shared = {dim.dim_param for dim in others if dim.dim_param}
    unnamed = any(not dim.dim_param for dim in others)
    return [
        place
        for place, dim in enumerate(inputs[frame])
        if not dim.dim_value and dim.dim_param not in shared and not (place == 0 and unnamed)
    ]


def tried(
    whole: Session,
    step: Session,
    frame: tuple[str, tuple[int, ...], np.dtype],
    axis: int,
    pairs: Mapping[str, str],
    first: Mapping[str, np.ndarray],
    first_whole: Mapping[str, np.ndarray],
) -> Trial:
    """Run frames at once and one by one; infinite when the model does not run so."""
    name, shape, dtype = frame
    sizes = list(shape)
    sizes[axis] *= _FRAMES
    x = np.random.default_rng(0).standard_normal(sizes).astype(dtype)

    def run() -> tuple[Mapping[str, np.ndarray], list[Mapping[str, np.ndarray]]]:
        want = whole({name: x, **first_whole})
        state, rows = dict(first), []
        for piece in np.split(x, _FRAMES, axis):
            got = step({name: piece, **state})
            state = {before: got[after] for before, after in pairs.items()}
            rows.append(got)
        return want, rows

    try:
        want, rows = guarded(run, lambda error: OnnxUnusable(f"the model does not run so: {reason(error)}"))
    except MillstreamError:
        return Trial(axis, float("inf"))
    outputs = [out for out in whole.outputs if out not in pairs.values()]
    return Trial(axis, max(_difference(want[out], [row[out] for row in rows]) for out in outputs))


def _difference(want: np.ndarray, rows: list[np.ndarray]) -> float:
    """The largest difference along the axis on which results line up; infinite where they do not."""
    axes = [i for i, (a, b) in enumerate(zip(want.shape, rows[0].shape, strict=True)) if a != b]
    if len(axes) != 1:
        return float("inf")
    joined = np.concatenate(rows, axes[0])
    return float(np.abs(joined - want).max()) if joined.shape == want.shape else float("inf")
