"""Blocks of channels rotated in the step itself, before a product whose weight undoes it, where that pays.

QuaRot (arXiv 2404.00456) behind a gate or an attention, where a rotation cannot go into the weights before:
x W = (x R) (R^T W), with R of blocks of 16 channels, each a Hadamard matrix. Larger blocks hardly take more
noise away, and each channel costs as many multiplications as its block is wide.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
import onnx.helper

from millstream.graph import StepGraph, set_origin
from millstream.quantize.calibration import Calibration, samples
from millstream.quantize.formats import Format
from millstream.quantize.hadamard import mixing, remaining
from millstream.quantize.layers import noise_alone
from millstream.quantize.preparing import Prepared, gain
from millstream.quantize.product import Product, find
from millstream.quantize.reweighing import reweighable
from millstream.reparameterize.graph.editing import View, edited, renamed

BLOCK = 16
#: The rotation may take this part of the multiplications of the products behind it.
MOST_WORK = 0.25
#: The part of their noise that it must take, which is more than what costs nothing must take.
LEAST_GAIN = 1 / 3


def rotated_online(
    graph: StepGraph, format: Format, products: Sequence[Product], calibration: Calibration
) -> Prepared:
    """The flat graph with a rotation before the products that have so much less noise by it; the graph itself
    where there are none.

    Products keep their results' names. The float step is the same but for rounding to float32.
    """
    able = _able(View(graph), format, products)
    seen = samples(graph, sorted(able), calibration) if able else {}
    able = {name: own for name, own in able.items() if _is_uneven(seen[name])}
    if not able:
        return Prepared(graph)
    tried = [product for own in able.values() for product in own]
    before = noise_alone(graph, format, tried, calibration)
    trial = turned_online(graph, able)
    again = [p for p in find(trial)[0] if p.output in before]
    after = noise_alone(trial, format, again, calibration)
    gains = {
        name: gain(
            "rotated in the step", own, *(sum(noise[p.output] for p in own) for noise in (before, after))
        )
        for name, own in able.items()
    }
    kept = {name: each for name, each in gains.items() if each.after < (1 - LEAST_GAIN) * each.before}
    if not kept:
        return Prepared(graph)
    return Prepared(turned_online(graph, {name: able[name] for name in kept}), tuple(kept.values()))


def turned_online(graph: StepGraph, activations: Mapping[str, Sequence[Product]]) -> StepGraph:
    """The graph with these activations (B, channels) rotated before the products that are named with them."""
    view = View(graph)
    added, nodes = {"rotation": mixing(BLOCK).astype(np.float32)}, list[onnx.NodeProto]()
    reading = {product.output: product for own in activations.values() for product in own}
    written = set[str]()
    for node in view.nodes:
        copy, product = renamed(node, {}), reading.get(node.output[0])
        if product is not None:
            name = product.activation
            if name not in written:
                nodes += _rotation(name, view.shapes[name][-1] or 0, added)
                written.add(name)
            copy.input[0] = f"{name}.rotated"
            copy.input[1] = f"{product.weight}.rotated.for.{product.output}"
            added[copy.input[1]] = _undone(view.constants[product.weight], product)
        nodes.append(copy)
    return edited(graph, nodes, added)


def _able(view: View, format: Format, products: Sequence[Product]) -> dict[str, list[Product]]:
    """By activation, the products that may be given other weights and behind which a rotation is little
    work."""

    def small(name: str, own: Sequence[Product]) -> bool:
        shape = view.shapes.get(name, ())
        outputs = sum(view.constants[product.weight].shape[product.channel] for product in own)
        blocks = len(shape) == 2 and shape[-1] is not None and shape[-1] % BLOCK == 0
        return blocks and outputs * MOST_WORK >= BLOCK

    found = reweighable(view.graph, format, products)
    return {name: own for name, own in found.items() if small(name, own)}


def _is_uneven(x: np.ndarray) -> bool:
    """Whether the activation has larger values than it would have when rotated."""
    blocks = x.reshape(*x.shape[:-1], -1, BLOCK)
    return remaining(x, (blocks @ mixing(BLOCK).astype(np.float32)).reshape(x.shape)) < 1 - LEAST_GAIN


def _rotation(name: str, width: int, added: dict[str, np.ndarray]) -> list[onnx.NodeProto]:
    """The nodes that rotate a value block by block."""
    blocks, turned, result = (f"{name}.{part}" for part in ("blocks", "turned", "rotated"))
    split, whole = f"{name}.split", f"{name}.whole"
    added[split] = np.array([0, width // BLOCK, BLOCK])
    added[whole] = np.array([0, width])
    nodes = [
        onnx.helper.make_node("Reshape", [name, split], [blocks], name=f"{blocks} node"),
        onnx.helper.make_node("MatMul", [blocks, "rotation"], [turned], name=f"{turned} node"),
        onnx.helper.make_node("Reshape", [turned, whole], [result], name=f"{result} node"),
    ]
    for node in nodes:
        set_origin(node, "")
    return nodes


def _undone(weight: np.ndarray, product: Product) -> np.ndarray:
    """The weight for the rotated activation."""
    inputs = weight if product.channel else weight.T
    blocks = inputs.reshape(-1, BLOCK, inputs.shape[1]).astype(np.float64)
    turned = (mixing(BLOCK).T @ blocks).reshape(inputs.shape).astype(np.float32)
    return turned if product.channel else np.ascontiguousarray(turned.T)
