"""Models that somebody else wrote, exported, proved, saved and streamed; and those that must be refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from small_models import (
    STREAMING,
    CentredAverage,
    ConvNet,
    CountsInPython,
    DisagreeingForms,
    GatedRecurrence,
    MixesStreams,
    MutatedBuffer,
    RunningMean,
    UsesPlaces,
    frames,
    seeded,
)
from torch import nn

import millstream
import millstream_runtime
from millstream import errors
from millstream.errors import NotStreamable, ProofFailed, UnknownTarget, UnsupportedOperators
from millstream_runtime.errors import MillstreamError

#: torch sums in float32 in another order than the backends; values are of order 1.
_BOUND = 2e-5


def _outputs_of(result: object) -> np.ndarray:
    return np.stack(result) if isinstance(result, list) else np.asarray(result)


@pytest.mark.parametrize("make", STREAMING, ids=lambda make: make.__name__)
def test_a_streaming_model_runs_on_every_backend(make: type[nn.Module], tmp_path: Path) -> None:
    module, example = seeded(make), frames(make, 3, 21)
    exported = millstream.export(module, example, target=("cpu", "numba"))
    assert exported.ladder.passed
    exported.save(tmp_path / "model.mill")
    with torch.no_grad():
        want = module(example[1:2])[0].numpy()
    for backend in ("tvm", "numba", "onnxruntime"):
        with millstream_runtime.load(tmp_path / "model.mill", backend=backend).stream() as stream:
            got = _outputs_of(stream.push(example[1].numpy()) + stream.flush())
        np.testing.assert_allclose(got, want, atol=_BOUND, rtol=_BOUND, err_msg=backend)


def test_a_stateless_model_is_a_step_without_states(tmp_path: Path) -> None:
    module, example = seeded(ConvNet).eval(), frames(ConvNet, 6)
    millstream.export(module, example, target=("cpu", "numba")).save(tmp_path / "net.mill")
    with torch.no_grad():
        want = module(example).numpy()
    for backend in ("tvm", "numba", "onnxruntime"):
        model = millstream_runtime.load(tmp_path / "net.mill", backend=backend)
        assert not model.spec.states
        got = [model.stream().step(frame).copy() for frame in example.numpy()]
        np.testing.assert_allclose(np.stack(got), want, atol=_BOUND, err_msg=backend)


@pytest.mark.parametrize(
    ("make", "name"), [(MutatedBuffer, "hidden"), (CountsInPython, "ticks")], ids=lambda value: str(value)
)
def test_hidden_state_is_refused_by_name(make: type[nn.Module], name: str) -> None:
    with pytest.raises(errors.MutatedBuffer, match=name):
        millstream.export(seeded(make), frames(make, 1, 8), target="onnxruntime")


def test_forms_that_disagree_fail_the_ladder() -> None:
    with pytest.raises(ProofFailed, match="sequence form"):
        millstream.export(seeded(DisagreeingForms), frames(DisagreeingForms, 1, 8), target="onnxruntime")


def test_streams_that_see_each_other_fail_the_ladder() -> None:
    with pytest.raises(ProofFailed, match="streams in one batch"):
        millstream.export(seeded(MixesStreams), frames(MixesStreams, 1, 8), target="onnxruntime")


def test_every_unsupported_operator_is_reported_at_once_with_its_module() -> None:
    with pytest.raises(UnsupportedOperators) as caught:
        millstream.export(seeded(UsesPlaces), frames(UsesPlaces, 2), target="c")
    text = str(caught.value)
    assert "from first" in text
    assert "from second" in text


def test_what_one_target_lacks_another_may_have() -> None:
    exported = millstream.export(seeded(UsesPlaces), frames(UsesPlaces, 4), target="onnxruntime")
    assert exported.ladder.passed


def test_an_unknown_target_is_named() -> None:
    with pytest.raises(UnknownTarget, match="toaster"):
        millstream.export(seeded(RunningMean), frames(RunningMean, 1, 8), target="toaster")


def test_the_callers_module_is_left_alone() -> None:
    module = seeded(GatedRecurrence).train()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    millstream.export(module, frames(GatedRecurrence, 1, 8), target="onnxruntime")
    assert module.training
    assert all(parameter.requires_grad for parameter in module.parameters())
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())


def test_the_same_model_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one.mill", "two.mill"):
        exported = millstream.export(
            seeded(GatedRecurrence), frames(GatedRecurrence, 2, 9), target=("cpu", "numba")
        )
        exported.save(tmp_path / name)
    assert (tmp_path / "one.mill").read_bytes() == (tmp_path / "two.mill").read_bytes()


def test_look_ahead_reaches_the_bundle() -> None:
    spec = millstream.export(
        seeded(CentredAverage), frames(CentredAverage, 2, 9), target="onnxruntime"
    ).contents.model
    assert spec.look_ahead == 1
    assert spec.valid
    assert [t.name for t in spec.inputs] == ["input"]


def test_uneven_initial_states_are_stored_and_even_ones_are_not() -> None:
    from small_models import DelayLine

    contents = millstream.export(seeded(DelayLine), frames(DelayLine, 1, 9), target="onnxruntime").contents
    assert {state.name: state.fill for state in contents.model.states} == {
        "one": 0.0,
        "two": 1.0,
        "uneven": None,
    }
    np.testing.assert_array_equal(contents.initial["uneven"], np.arange(4, dtype=np.float32))


class _FixedBatch(RunningMean):
    """A step that only traces for one stream at a time."""

    def step(self, x: torch.Tensor, state: dict) -> tuple[torch.Tensor, dict]:
        return super().step(x.reshape(1, 4), state)


def test_a_step_that_cannot_batch_is_exported_for_one_stream(tmp_path: Path) -> None:
    exported = millstream.export(_FixedBatch(), frames(RunningMean, 1, 9), target="numba")
    assert exported.contents.model.batch == 1
    assert exported.contents.provenance["batch is fixed to 1 because"]
    exported.save(tmp_path / "one.mill")
    with pytest.raises(MillstreamError, match="batches of 1"):
        millstream_runtime.load(tmp_path / "one.mill").streams(4)


class _Windowed(nn.Module):
    """Frames of 8 samples every 4: the energy of each window, smoothed."""

    def initial_state(self, batch: int) -> dict[str, torch.Tensor]:
        return {"energy": torch.zeros(batch)}

    def step(self, x: torch.Tensor, state: dict) -> tuple[torch.Tensor, dict]:
        energy = 0.5 * state["energy"] + 0.5 * (x * x).mean(1)
        return energy, {"energy": energy}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        state, outputs = self.initial_state(x.shape[0]), []
        for t in range(x.shape[1]):
            y, state = self.step(x[:, t], state)
            outputs.append(y)
        return torch.stack(outputs, 1)


def test_samples_are_cut_into_overlapping_frames(tmp_path: Path) -> None:
    samples = np.random.default_rng(0).standard_normal(103).astype(np.float32)
    windows = np.stack([samples[start : start + 8] for start in range(0, 103 - 8 + 1, 4)])
    about = millstream.About(name="energy", sample_rate=16000.0, hop=4)
    millstream.export(_Windowed(), [windows], target="onnxruntime", about=about).save(tmp_path / "e.mill")
    stream = millstream_runtime.load(tmp_path / "e.mill").stream()
    got = [y for start in range(0, 103, 7) for y in stream.push(samples[start : start + 7])]
    want = _Windowed()(torch.tensor(windows)[None])[0].numpy()
    np.testing.assert_allclose(np.stack(got), want, rtol=1e-6)
    assert stream.remainder == 103 - 4 * len(windows)


def test_a_hop_longer_than_the_frame_is_refused() -> None:
    about = millstream.About(hop=9)
    with pytest.raises(errors.DataInvalid, match="hop of 9"):
        millstream.export(_Windowed(), np.ones((1, 5, 8), np.float32), target="onnxruntime", about=about)


def _changed(**methods: object) -> nn.Module:
    """A RunningMean with some of its methods replaced."""
    return type("Changed", (RunningMean,), methods)()


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (_changed(initial_state=None), "without initial_state"),
        (_changed(initial_state=lambda self, batch: [torch.zeros(batch, 4)]), "flat mapping"),
        (_changed(initial_state=lambda self, batch: {"total": torch.zeros(4)}), "leading batch dimension"),
        (_changed(initial_state=lambda self, batch: {"output": torch.zeros(batch, 4)}), "may not be called"),
        (_changed(step=lambda self, x, state: x), r"no \(y, state\) pair"),
        (_changed(step=lambda self, x, state: (x, {})), "other states"),
        (_changed(step=lambda self, x, state: (x, {k: v.double() for k, v in state.items()})), "dtype"),
        (_changed(step=lambda self, x, state: ("text", state)), "no tensor"),
        (_changed(look_ahead=-1), "no frame count"),
        (_changed(look_ahead=2), r"step\(x, state, valid\)"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_module_that_breaks_the_protocol_is_told_how(module: nn.Module, message: str) -> None:
    with pytest.raises(NotStreamable, match=message):
        millstream.export(module, frames(RunningMean, 1, 8), target="onnxruntime")


def test_a_rung_that_a_backend_fails_stops_the_export(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights flipped after compiling: the reference and the target must be seen to differ."""
    from millstream.targets import numba

    compile_rightly = numba.compile

    def compile_wrongly(*arguments: object) -> object:
        made = compile_rightly(*arguments)
        wrong = bytearray(made.files["weights.bin"])
        wrong[3] ^= 0x80
        return dataclasses.replace(made, files={**made.files, "weights.bin": bytes(wrong)})

    monkeypatch.setattr(numba, "compile", compile_wrongly)
    with pytest.raises(ProofFailed, match="numba"):
        millstream.export(seeded(GatedRecurrence), frames(GatedRecurrence, 1, 9), target="numba")
