"""A linear memory that forgets becomes a ring: equal over long streams, left alone where that is no gain."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from fold_models import make, noise
from reference_outputs import outputs
from small_models import stepped
from torch import Tensor, nn

import millstream
import millstream_runtime
from millstream.graph import StepGraph
from millstream.protocol import streamable
from millstream.reparameterize import BOUND
from millstream.reparameterize.graph import RewrittenStep, rewritten_graph
from millstream.reparameterize.graph.finite_response import terms
from millstream.trace import trace
from millstream_models.core import linear_memory
from millstream_models.lmuformer import CausalLMUFormer, LMUFormer, LMUFormerConfig
from millstream_models.lmuformer.memory import LegendreMemory

#: Memory and what reads it take 24 x 25 and 8 x 24 multiplications; 19 terms of 8 outputs take 152.
CONFIG = LMUFormerConfig(inputs=5, classes=3, width=8, order=24, theta=8.0)


def _driven(kind: type[nn.Module]) -> nn.Module:
    """An LMUFormer whose drive is not shut, as random ones may be."""
    module = make(kind, CONFIG)
    nn.init.constant_(module.trunk.blocks[0].token.drive.bias, 1.0)
    return module.eval()


class _Read(nn.Module):
    """What `read` makes of a memory of one scalar, which starts with `start` everywhere."""

    def __init__(self, memory: nn.Module, start: float = 0.0) -> None:
        super().__init__()
        self.memory, self.start = memory, start

    def initial_state(self, batch: int) -> dict[str, Tensor]:
        return {"memory": torch.full((batch, len(self.memory.input_matrix)), self.start)}

    def step(self, x: Tensor, state: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        memory = self.remember(x, state["memory"])
        return self.read(memory, state["memory"]), {"memory": memory}

    def forward(self, x: Tensor) -> Tensor:
        return stepped(self, x)

    def remember(self, x: Tensor, past: Tensor) -> Tensor:
        return linear_memory(x, self.memory.transition, self.memory.input_matrix, past)

    def read(self, memory: Tensor, past: Tensor) -> Tensor:
        return torch.tanh(memory) + torch.relu(memory)


class _Plain(_Read):
    """The same without a custom operator: a sum of products, as people write it."""

    def remember(self, x: Tensor, past: Tensor) -> Tensor:
        return past @ self.memory.transition.T + x * self.memory.input_matrix


class _Layers(_Read):
    """The same as two layers without bias."""

    def __init__(self, memory: nn.Module) -> None:
        super().__init__(memory)
        order = len(memory.input_matrix)
        self.keep, self.write = nn.Linear(order, order, bias=False), nn.Linear(1, order, bias=False)
        self.keep.weight.data, self.write.weight.data = memory.transition, memory.input_matrix[:, None]

    def remember(self, x: Tensor, past: Tensor) -> Tensor:
        return self.write(x) + self.keep(past)


class _Slow(nn.Module):
    """A mean of all that was, as good as."""

    transition: Tensor
    input_matrix: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("transition", torch.full((1, 1), 0.9999))
        self.register_buffer("input_matrix", torch.ones(1))


class _Growing(_Slow):
    """No memory that is any good."""

    def __init__(self) -> None:
        super().__init__()
        self.transition.fill_(50.0)


class _Normed(_Read):
    """What a norm makes of the memory, as spiking neurons read it."""

    def __init__(self) -> None:
        super().__init__(LegendreMemory(64, 8.0))
        self.norm = make(nn.BatchNorm1d, 64).train()
        self.norm(noise(50, 64) * 2 + 1)

    def read(self, memory: Tensor, past: Tensor) -> Tensor:
        return torch.tanh(self.norm(memory))


class _Between(_Read):
    """A layer that reads the memory between two other values."""

    def __init__(self) -> None:
        super().__init__(LegendreMemory(24, 8.0))
        self.mix = make(nn.Linear, 3 + 24 + 2, 8)

    def step(self, x: Tensor, state: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        memory = self.remember(x, state["memory"])
        sides = torch.sin(x * torch.arange(1.0, 6.0)).split((3, 2), 1)
        return torch.tanh(self.mix(torch.cat((sides[0], memory, sides[1]), 1))), {"memory": memory}


class _Shown(_Read):
    """The memory is an output, and kept as it was where the input is negative."""

    def step(self, x: Tensor, state: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        memory = self.remember(x, state["memory"])
        return memory, {"memory": torch.where(x > 0, memory, state["memory"])}


class _Looks(_Read):
    """The memory of the frame before is an output too."""

    def read(self, memory: Tensor, past: Tensor) -> Tensor:
        return torch.tanh(memory) + past


_Step = tuple[StepGraph, dict[str, np.ndarray]]


def _rewritten(module: nn.Module, x: Tensor) -> tuple[_Step, RewrittenStep]:
    """A step and its initial states, and what becomes of it."""
    source = streamable(module.eval(), x[:1])
    graph = trace(source, x[:1]).graph
    initial = {name: value[0].numpy() for name, value in source.initial.items()}
    return (graph, initial), rewritten_graph(graph, x.numpy(), initial)


def _assert_same(step: _Step, done: RewrittenStep, x: Tensor, valid: np.ndarray | None = None) -> None:
    """A long stream gives what it gave."""
    want, got = (outputs(*each, x.numpy(), valid) for each in (step, (done.graph, dict(done.initial))))
    assert np.abs(got - want).max() < BOUND * np.abs(want).max()


def _refusal(module: nn.Module, x: Tensor) -> str:
    _, done = _rewritten(module, x)
    (left,) = [each for each in done.report.left_alone if each.rewrite == "finite response"]
    return left.why


@pytest.mark.parametrize(("kind", "gate"), [(CausalLMUFormer, False), (LMUFormer, True)])
def test_what_reads_a_memory_reads_the_ring_and_a_stream_of_any_length_is_the_same(kind, gate) -> None:
    x = noise(150, 5)
    step, done = _rewritten(_driven(kind), x)
    (applied,) = [each for each in done.report.applied if each.rewrite == "finite response"]
    count = len(done.initial["memory_0"]) + 1
    assert done.initial["memory_0"].shape == (count - 1, 1)
    assert count == 19
    assert applied.before.macs - applied.after.macs == 24 * 25 + 8 * 24 - 8 * count
    assert not any(node.op_type == "LinearMemory" for node in done.graph.model.graph.node)
    # Frames that are not valid, in the middle of a stream too, must leave the memory as it was.
    _assert_same(step, done, x, np.arange(len(x)) % 7 < 5 if gate else None)


def test_what_stands_on_either_side_of_a_memory_is_read_as_before() -> None:
    x = noise(150, 1)
    step, done = _rewritten(_Between(), x)
    (applied,) = done.report.applied
    count = len(done.initial["memory"]) + 1
    assert applied.before.macs - applied.after.macs == 24 * 25 + 8 * 24 - 8 * count
    _assert_same(step, done, x)


def test_a_norm_that_reads_a_memory_goes_into_the_terms() -> None:
    x = noise(150, 1)
    step, done = _rewritten(_Normed(), x)
    (applied,) = done.report.applied
    count = len(done.initial["memory"]) + 1
    assert applied.before.macs - applied.after.macs == 64 * 65 + 64 - 64 * count
    _assert_same(step, done, x)


@pytest.mark.parametrize("kind", [_Read, _Plain, _Layers, _Shown])
def test_a_memory_with_several_readers_is_written_out_of_the_ring_however_it_is_said(kind) -> None:
    memory, x = LegendreMemory(64, 8.0), noise(200, 1)
    step, done = _rewritten(kind(memory), x)
    (applied,) = done.report.applied
    count = len(done.initial["memory"]) + 1
    assert applied.before.macs - applied.after.macs == 64 * 65 - 64 * count
    assert [node.op_type for node in done.graph.model.graph.node].count("CausalConvRing") == 1
    _assert_same(step, done, x)


def test_memories_that_stay_say_why() -> None:
    x = noise(9, 1)
    assert "forgets too slowly" in _refusal(_Read(_Slow()), x)
    assert "does not start at zero" in _refusal(_Read(LegendreMemory(64, 8.0), 0.5), x)
    assert "another reads its state" in _refusal(_Looks(LegendreMemory(64, 8.0)), x)
    assert "forgets too slowly" in _refusal(_Read(_Growing()), x)
    # A window of 64 frames takes more terms than the 8 values that tell of it.
    assert "would not help" in _refusal(_Read(LegendreMemory(8, 64.0)), x)


@pytest.mark.parametrize(("order", "theta"), [(32, 32.0), (96, 32.0), (256, 128.0), (8, 64.0)])
def test_the_terms_that_are_left_out_add_up_to_a_millionth(order: int, theta: float) -> None:
    """Against the recurrence itself, on the input that makes the most of what is left out."""
    memory = LegendreMemory(order, theta).double()
    found = terms(memory.transition.numpy(), memory.input_matrix.numpy())
    assert found is not None
    column, columns = memory.input_matrix, []
    for _ in range(8 * int(theta) + 64):
        columns.append(column)
        column = memory.transition @ column
    response = torch.stack(columns, 1).abs().numpy()
    whole, rest = response.sum(1), response[:, found.shape[1] :].sum(1)
    assert (rest <= 1.001e-6 * whole).all()
    assert (response[:, found.shape[1] - 1 :].sum(1) > 1e-6 * whole).any()
    np.testing.assert_allclose(found, torch.stack(columns[: found.shape[1]], 1), atol=1e-12)


def test_a_bundle_keeps_the_ring_as_its_state_and_streams_on_behind_its_end(tmp_path: Path) -> None:
    module, x = _driven(CausalLMUFormer), noise(203, 5)
    millstream.export(module, x[None, :64], target="numba").save(tmp_path / "ring.mill")
    with torch.no_grad():
        want = module(x[None])[0].numpy()
    for backend in ("numba", "onnxruntime"):
        model = millstream_runtime.load(tmp_path / "ring.mill", backend=backend)
        (state,) = [each for each in model.spec.states if each.name == "memory_0"]
        assert state.shape[1] == 1
        assert state.fill == 0
        stream = model.stream()
        got = np.concatenate([stream.push(x[:101].numpy()), stream.push(x[101:].numpy())])
        assert np.abs(got - want).max() < BOUND * np.abs(want).max()
        kept = stream.save()
        after = stream.step(x[0].numpy()).copy()
        stream.load(kept)
        np.testing.assert_array_equal(stream.step(x[0].numpy()), after)
