"""An ONNX file made static: sizes fixed, inputs that are settings fixed, everything constant folded."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import onnx.shape_inference
import onnx.version_converter
import onnxruntime

from millstream.errors import OnnxUnusable
from millstream.graph import OPSET
from millstream.importing.branches import decided
from millstream.user_code import guarded, reason

_CONTROL_FLOW = ("If", "Loop", "Scan", "SequenceMap")


def load(path: str) -> onnx.ModelProto:
    """The model in a file. Raises OnnxUnusable."""
    return guarded(
        lambda: onnx.load(path),
        lambda error: OnnxUnusable("the file is no ONNX model", where=path, why=reason(error)),
    )


def with_settings(model: onnx.ModelProto, values: Mapping[str, float]) -> onnx.ModelProto:
    """The model with some inputs fixed, such as a sample rate. Raises OnnxUnusable for an unknown name."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    inputs = {value.name: value for value in made.graph.input}
    unknown = sorted(set(values) - set(inputs))
    if unknown:
        raise OnnxUnusable(f"no input is called {', '.join(unknown)}", why=f"there are {', '.join(inputs)}")
    for name, value in values.items():
        kind = inputs[name].type.tensor_type
        sizes = [dim.dim_value or 1 for dim in kind.shape.dim]
        array = np.full(sizes, value, onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type))
        made.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
        made.graph.input.remove(inputs[name])
    return made


def with_sizes(model: onnx.ModelProto, sizes: Mapping[str, Sequence[int]]) -> onnx.ModelProto:
    """The model with the shape of every input fixed; a free size that is not given is 1.

    Raises OnnxUnusable for a name or a number of sizes that does not fit.
    """
    made = onnx.ModelProto()
    made.CopyFrom(model)
    inputs = {value.name: value for value in frames_and_states(made)}
    for name, given in sizes.items():
        if name not in inputs or len(given) != len(inputs[name].type.tensor_type.shape.dim):
            raise OnnxUnusable(
                f"the sizes {'x'.join(map(str, given))} do not fit an input {name!r}",
                why=", ".join(f"{n} has {_shape_text(v)}" for n, v in inputs.items()),
            )
    for name, value in inputs.items():
        for place, dim in enumerate(value.type.tensor_type.shape.dim):
            if name in sizes:
                dim.dim_value = sizes[name][place]
            elif not dim.dim_value:
                dim.dim_value = 1
    for value in made.graph.output:
        for dim in value.type.tensor_type.shape.dim:
            dim.Clear()
    del made.graph.value_info[:]
    return made


def frames_and_states(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    """The inputs that are no initialisers."""
    held = {item.name for item in model.graph.initializer}
    return [value for value in model.graph.input if value.name not in held]


def folded(model: onnx.ModelProto) -> onnx.ModelProto:
    """The static model with everything constant computed, in our opset. Raises OnnxUnusable.

    Ifs on constants are decided first; onnxruntime's basic passes do the rest of the folding.
    """
    with tempfile.TemporaryDirectory(prefix="millstream-") as room:
        path = os.path.join(room, "folded.onnx")
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = path
        options.log_severity_level = 4
        model = decided(model)
        guarded(
            lambda: onnxruntime.InferenceSession(
                model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            ),
            lambda error: OnnxUnusable(
                "onnxruntime cannot open the model with these sizes",
                why=reason(error),
                fix="give the sizes of one frame: --shape input=1x512",
            ),
        )
        made = onnx.load(path)
    left = [node for node in made.graph.node if node.op_type in _CONTROL_FLOW]
    if left:
        raise OnnxUnusable(
            f"control flow that depends on the frames: {', '.join(f'{n.op_type} {n.name}' for n in left)}",
            fix="fix the inputs that decide it with --set name=value",
        )
    return _in_our_opset(made)


def _in_our_opset(model: onnx.ModelProto) -> onnx.ModelProto:
    used = {node.domain for node in model.graph.node}
    foreign = sorted(used - {"", "ai.onnx"})
    if foreign:
        names = sorted({n.op_type for n in model.graph.node if n.domain in foreign})
        raise OnnxUnusable(
            f"operators of other domains: {', '.join(names)}", why=f"they belong to {', '.join(foreign)}"
        )
    kept = [entry for entry in model.opset_import if entry.domain in used | {""}]
    del model.opset_import[:]
    model.opset_import.extend(kept)
    del model.graph.value_info[:]
    converted = guarded(
        lambda: onnx.version_converter.convert_version(model, OPSET),
        lambda error: OnnxUnusable(f"the model cannot be brought to opset {OPSET}", why=reason(error)),
    )
    return onnx.shape_inference.infer_shapes(converted, data_prop=True)


def _shape_text(value: onnx.ValueInfoProto) -> str:
    return "x".join(str(dim.dim_value or dim.dim_param or "?") for dim in value.type.tensor_type.shape.dim)
