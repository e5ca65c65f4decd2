"""Branches that compute the same twice become one, and so do equal weights; what nothing needs goes.

The exporter of torch merges what it sees; this merges what it does not, and what other rewrites left equal.

Needs: the same operator on the same values with the same attributes. Gives: one of them.
"""

from __future__ import annotations

from collections.abc import Iterable

import onnx

from millstream.graph import StepGraph
from millstream.reparameterize.graph.editing import GraphCandidate, View, edited, place, renamed

_RANDOM = (
    "RandomNormal",
    "RandomUniform",
    "RandomNormalLike",
    "RandomUniformLike",
    "Bernoulli",
    "Multinomial",
)


def duplicates(graph: StepGraph) -> Iterable[GraphCandidate]:
    """All duplicates of a graph at once."""
    view = View(graph)
    names = _equal_constants(view)
    kept: list[onnx.NodeProto] = []
    first: dict[bytes, onnx.NodeProto] = {}
    gone: list[onnx.NodeProto] = []
    for node in view.nodes:
        own = renamed(node, names)
        key = _meaning(own)
        twin = first.setdefault(key, own)
        if twin is own or own.op_type in _RANDOM or view.outputs.intersection(own.output):
            kept.append(own)
        else:
            gone.append(own)
            names.update(zip(own.output, twin.output, strict=True))
    lost = len(names) - sum(len(node.output) for node in gone)
    if gone or lost:
        told = [place(node) for node in gone] + ([f"{lost} equal constants"] if lost else [])
        yield GraphCandidate(", ".join(dict.fromkeys(told)), lambda: edited(graph, kept))


def _equal_constants(view: View) -> dict[str, str]:
    """Every constant that another one equals, to that one."""
    first: dict[tuple[str, tuple[int, ...], bytes], str] = {}
    found: dict[str, str] = {}
    for name, array in view.constants.items():
        twin = first.setdefault((array.dtype.str, array.shape, array.tobytes()), name)
        if twin != name and name not in view.outputs:
            found[name] = twin
    return found


def _meaning(node: onnx.NodeProto) -> bytes:
    """What a node computes, without names of its own."""
    bare = onnx.NodeProto()
    bare.CopyFrom(node)
    bare.name = ""
    bare.doc_string = ""
    del bare.metadata_props[:]
    bare.output[:] = [""] * len(node.output)
    return bare.SerializeToString(deterministic=True)
