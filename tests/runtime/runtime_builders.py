"""Small step graphs written by hand, and bundles of them. What each must compute stands beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from onnx import TensorProto, checker, helper

from millstream.package import Contents, write
from millstream_runtime import Model, load
from millstream_runtime.golden import Golden
from millstream_runtime.spec import (
    Framing,
    Memory,
    ModelSpec,
    StateSpec,
    TargetSpec,
    TensorSpec,
    Tolerance,
)

EXACT = Tolerance(0.0, 0.0, "the sums of small integers are exact in float32")
ONNXRUNTIME = TargetSpec("onnxruntime", "onnxruntime", ("step.onnx",), EXACT, Memory(0, 0, 0))
ELEMENT_TYPES = {"float32": TensorProto.FLOAT, "int64": TensorProto.INT64, "bool": TensorProto.BOOL}


@dataclass(frozen=True)
class Example:
    """A model with the output and states that whole-sequence arithmetic says it must give."""

    spec: ModelSpec
    step: bytes
    sequence: Callable[[np.ndarray], tuple[np.ndarray, ...]]
    final_states: Callable[[np.ndarray], tuple[np.ndarray, ...]]


def model_bytes(spec: ModelSpec, nodes: Sequence, initializers: Sequence = ()) -> bytes:
    def value(name: str, shape: tuple[int, ...], dtype: str):
        return helper.make_tensor_value_info(name, ELEMENT_TYPES[dtype], [spec.batch or "B", *shape])

    inputs = [value(t.name, t.shape, t.dtype) for t in (*spec.graph_inputs, *spec.states)]
    outputs = [value(t.name, t.shape, t.dtype) for t in spec.outputs]
    outputs += [value(s.next_name, s.shape, s.dtype) for s in spec.states]
    graph = helper.make_graph(list(nodes), spec.name, inputs, outputs, list(initializers))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    checker.check_model(model)
    return model.SerializeToString()


def running_sum(width: int = 3, batch: int | None = None, framing: Framing | None = None) -> Example:
    """y = s' = x + s: the output is the sum of all frames so far."""
    spec = ModelSpec(
        "running_sum",
        inputs=(TensorSpec("x", (width,), "float32", "m"),),
        outputs=(TensorSpec("y", (width,), "float32"),),
        states=(StateSpec("s", "s_next", (width,), "float32", 0.0),),
        batch=batch,
        framing=framing,
    )
    nodes = [helper.make_node("Add", ["x", "s"], ["s_next"]), helper.make_node("Identity", ["s_next"], ["y"])]
    return Example(
        spec,
        model_bytes(spec, nodes),
        lambda x: (np.cumsum(x, axis=0, dtype=np.float32),),
        lambda x: (x.sum(axis=0, dtype=np.float32),),
    )


def counter() -> Example:
    """Two states of two dtypes, one with an initial array; two outputs, one boolean.

    n' = n + 1; h' = 2 x - h; y = h' + n'; even = (n' mod 2 == 0). h begins at (1, -2).
    """
    spec = ModelSpec(
        "counter",
        inputs=(TensorSpec("x", (2,), "float32"),),
        outputs=(TensorSpec("y", (2,), "float32"), TensorSpec("even", (), "bool")),
        states=(
            StateSpec("n", "n_next", (), "int64", 0),
            StateSpec("h", "h_next", (2,), "float32", None),
            StateSpec("none", "none_next", (0,), "float32", 0),
        ),
    )
    nodes = [
        helper.make_node("Add", ["n", "one"], ["n_next"]),
        helper.make_node("Add", ["x", "x"], ["twice"]),
        helper.make_node("Sub", ["twice", "h"], ["h_next"]),
        helper.make_node("Unsqueeze", ["n_next", "last"], ["column"]),
        helper.make_node("Cast", ["column"], ["count"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["h_next", "count"], ["y"]),
        helper.make_node("Mod", ["n_next", "two"], ["odd"]),
        helper.make_node("Equal", ["odd", "zero"], ["even"]),
        helper.make_node("Identity", ["none"], ["none_next"]),
    ]
    scalars = [("one", 1), ("two", 2), ("zero", 0)]
    initializers = [helper.make_tensor(name, TensorProto.INT64, [], [v]) for name, v in scalars]
    initializers.append(helper.make_tensor("last", TensorProto.INT64, [1], [1]))

    def states(x: np.ndarray) -> np.ndarray:
        history = [COUNTER_START]
        for frame in x:
            history.append(2 * frame - history[-1])
        return np.array(history[1:], np.float32).reshape(-1, 2)

    def sequence(x: np.ndarray) -> tuple[np.ndarray, ...]:
        count = np.arange(1, len(x) + 1)
        return (states(x) + count[:, None].astype(np.float32)).astype(np.float32), count % 2 == 0

    def final(x: np.ndarray) -> tuple[np.ndarray, ...]:
        return np.array(len(x), np.int64), states(x)[-1], np.zeros(0, np.float32)

    return Example(spec, model_bytes(spec, nodes, initializers), sequence, final)


COUNTER_START = np.array([1, -2], np.float32)


def centred_sum(look_ahead: int = 2, width: int = 2) -> Example:
    """y[t] = x[t-L] + ... + x[t+L], frames outside the sequence counting as zero: a look-ahead of L.

    The state is the window of the last 2L + 1 frames; a frame that is not valid enters as zero.
    """
    length = 2 * look_ahead + 1
    spec = ModelSpec(
        "centred_sum",
        inputs=(TensorSpec("x", (width,), "float32"),),
        outputs=(TensorSpec("y", (width,), "float32"),),
        states=(StateSpec("window", "window_next", (length, width), "float32", 0.0),),
        look_ahead=look_ahead,
        valid="valid",
    )
    nodes = [
        helper.make_node("Unsqueeze", ["valid", "one"], ["mask"]),
        helper.make_node("Where", ["mask", "x", "nothing"], ["kept"]),
        helper.make_node("Unsqueeze", ["kept", "one"], ["newest"]),
        helper.make_node("Slice", ["window", "one", "end", "one"], ["older"]),
        helper.make_node("Concat", ["older", "newest"], ["window_next"], axis=1),
        helper.make_node("ReduceSum", ["window_next", "one"], ["y"], keepdims=0),
    ]
    initializers = [
        helper.make_tensor("one", TensorProto.INT64, [1], [1]),
        helper.make_tensor("end", TensorProto.INT64, [1], [length]),
        helper.make_tensor("nothing", TensorProto.FLOAT, [], [0.0]),
    ]

    def sequence(x: np.ndarray) -> tuple[np.ndarray, ...]:
        padded = np.pad(x, ((look_ahead, look_ahead), (0, 0)))
        return (np.array([padded[t : t + length].sum(axis=0) for t in range(len(x))], np.float32),)

    def final(x: np.ndarray) -> tuple[np.ndarray, ...]:
        drained = np.concatenate((np.zeros((length, width)), x, np.zeros((look_ahead, width))))
        return (drained[-length:].astype(np.float32),)

    return Example(spec, model_bytes(spec, nodes, initializers), sequence, final)


def two_inputs() -> Example:
    """A stateless step: y = a * b."""
    spec = ModelSpec(
        "product",
        inputs=(TensorSpec("a", (2, 2), "float32"), TensorSpec("b", (), "float32")),
        outputs=(TensorSpec("y", (2, 2), "float32"),),
        states=(),
    )
    nodes = [
        helper.make_node("Unsqueeze", ["b", "axes"], ["column"]),
        helper.make_node("Mul", ["a", "column"], ["y"]),
    ]
    axes = helper.make_tensor("axes", TensorProto.INT64, [2], [1, 2])
    return Example(spec, model_bytes(spec, nodes, [axes]), lambda x: (), lambda x: ())


def golden(example: Example, frames: np.ndarray) -> Golden:
    """The golden sequence of a model with one input, its look-ahead drained."""
    spec, extra = example.spec, example.spec.look_ahead
    x = np.concatenate((frames, np.zeros((extra, *frames.shape[1:]), frames.dtype)))
    inputs: tuple[np.ndarray, ...] = (x,)
    if spec.valid:
        inputs = (x, np.arange(len(x)) < len(frames))
    outputs = tuple(
        np.concatenate((np.zeros((extra, *y.shape[1:]), y.dtype), y)) for y in example.sequence(frames)
    )
    return Golden(inputs, outputs, example.final_states(frames))


def frames(example: Example, count: int, seed: int = 0) -> np.ndarray:
    """Small integers as floats: their sums are exact, so every comparison can be for equality."""
    shape = (count, *example.spec.inputs[0].shape)
    return np.random.default_rng(seed).integers(-4, 5, shape).astype(np.float32)


def contents(example: Example, count: int = 7) -> Contents:
    initial = {"h": COUNTER_START} if example.spec.name == "counter" else {}
    if example.spec.name == "product":
        a, b = np.ones((1, 2, 2), np.float32), np.full(1, 3, np.float32)
        sequence = Golden((a, b), (3 * a,), ())
    else:
        sequence = golden(example, frames(example, count))
    return Contents(
        model=example.spec,
        step=example.step,
        golden=sequence,
        targets=((ONNXRUNTIME, {}),),
        initial=initial,
        report={"rungs": ["by hand"]},
        provenance={"source": "tests"},
    )


def with_target_file(given: Contents) -> Contents:
    """The same with a second target that has a file of its own and that no machine opens."""
    target = replace(ONNXRUNTIME, name="board", backend="imaginary", files=())
    return replace(given, targets=(*given.targets, (target, {"firmware.bin": bytes(range(100))})))


def load_example(folder: Path, example: Example) -> Model:
    return load(write_bundle(folder, example))


def write_bundle(folder: Path, example: Example) -> Path:
    path = folder / f"{example.spec.name}.mill"
    write(path, contents(example))
    return path
