"""A streaming ONNX file brought in: a voice activity detector as other people export them.

    python examples/imported_detector.py detector.onnx detector.mill

Your own file on the command line, its states named or guessed and tried:

    millstream import detector.onnx --state h=hn --state c=cn -o detector.mill
    millstream import detector.onnx --state auto
    millstream import silero_vad.onnx --set sr=16000 --shape input=1x576 --shape state=2x1x128 \
        --state state=stateN
"""

from __future__ import annotations

import sys

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper


def write_detector(path: str) -> None:
    """40 bands (T, 1, 40) to a probability a frame; h and c go in, hn and cn come out."""
    random = np.random.default_rng(0)

    def weight(name: str, *shape: int) -> onnx.TensorProto:
        return numpy_helper.from_array((0.3 * random.standard_normal(shape)).astype(np.float32), name)

    def value(name: str, *shape: int | str) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    nodes = [
        helper.make_node("LSTM", ["x", "w", "r", "", "", "h", "c"], ["y", "hn", "cn"], hidden_size=16),
        helper.make_node("Squeeze", ["y", "one"], ["flat"]),
        helper.make_node("MatMul", ["flat", "out"], ["score"]),
        helper.make_node("Sigmoid", ["score"], ["probability"]),
    ]
    held = [weight("w", 1, 64, 40), weight("r", 1, 64, 16), weight("out", 16, 1)]
    held.append(numpy_helper.from_array(np.array([1], np.int64), "one"))
    inputs = [value("x", "T", 1, 40), value("h", 1, 1, 16), value("c", 1, 1, 16)]
    outputs = [value("probability", "T", 1, 1), value("hn", 1, 1, 16), value("cn", 1, 1, 16)]
    graph = helper.make_graph(nodes, "detector", inputs, outputs, held)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8), path)


def main(file: str, path: str, target: str = "onnxruntime") -> None:
    """Write the file, bring it in, prove it, and stream it."""
    import millstream_runtime as ms
    from millstream.exporting import export_graph
    from millstream.importing import imported
    from millstream.trace import Traced

    write_detector(file)
    found = imported(file, ["auto"])
    print("found:", *found.notes)
    frames = np.random.default_rng(1).standard_normal((30, 1, 40)).astype(np.float32)
    export_graph(Traced(found.graph, ""), found.source, frames[None], target).save(path)

    with ms.load(path).stream() as stream:
        streamed = np.stack(stream.push(frames)).ravel()
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    zeros = np.zeros((1, 1, 16), np.float32)
    whole = np.asarray(session.run(None, {"x": frames, "h": zeros, "c": zeros})[0]).ravel()
    print("largest difference from the file:", np.abs(streamed - whole).max())


if __name__ == "__main__":
    main(*sys.argv[1:])
