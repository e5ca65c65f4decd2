"""Target web in a real Chromium: golden outputs, chunks, snapshots, and a recorded voice as microphone."""

from __future__ import annotations

import dataclasses
import json
import wave
from pathlib import Path

import numpy as np
import pytest
import torch
from browser import found_by
from exported_models import exported
from torch import Tensor, nn

import millstream
import millstream_runtime
from millstream.targets.web import BothBuilds
from millstream.web_demo import write_demo
from millstream_runtime.bundle import Bundle
from millstream_runtime.errors import BackendRefused
from millstream_runtime.golden import dump, load
from millstream_runtime.spec import GOLDEN, Tolerance

RATE, HOP, LENGTH = 16_000, 160, 400
_PROMPTS = Path("/usr/share/asterisk/sounds/en_US_f_Allison/digits")
_IMPORTS = """
const { Model } = await import("./stream.mjs");
const { readTensors } = await import("./tensors.mjs");
const text = (array) => Array.from(array, (value) => typeof value === "bigint" ? `${value}` : Number(value));
"""


class Loudness(nn.Module):
    """Audio to three classes: smoothed energy and zero crossings of a window, through a small layer."""

    def __init__(self) -> None:
        super().__init__()
        self.score = nn.Linear(2, 3)

    def initial_state(self, batch: int) -> dict[str, Tensor]:
        return {"smooth": torch.zeros(batch, 2)}

    def step(self, x: Tensor, state: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        energy = (x * x).mean(1)
        turns = (x[:, 1:] - x[:, :-1]).abs().mean(1)
        smooth = 0.9 * state["smooth"] + 0.1 * torch.stack((energy, turns), 1)
        return self.score(smooth), {"smooth": smooth}

    def forward(self, x: Tensor) -> Tensor:
        state, outputs = self.initial_state(x.shape[0]), []
        for t in range(x.shape[1]):
            y, state = self.step(x[:, t], state)
            outputs.append(y)
        return torch.stack(outputs, 1)


@pytest.fixture(scope="module", params=["lmuformer_jv", "RunningMean", "CentredAverage"])
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Bundle, Path]:
    """A trained model, one with an integer state, and one with a look-ahead."""
    folder = tmp_path_factory.mktemp("web")
    bundle = exported(request.param, ["web"], folder)
    write_demo(bundle, str(folder / "site"))
    return bundle, folder / "site"


@pytest.fixture(scope="module")
def voice() -> np.ndarray:
    """A person who says one to four, as Debian's telephone prompts hold her at 8 kHz: (T,) float32."""
    words = []
    for digit in "1234":
        with wave.open(str(_PROMPTS / f"{digit}.wav"), "rb") as file:
            assert (file.getframerate(), file.getsampwidth()) == (8000, 2)
            words.append(np.frombuffer(file.readframes(file.getnframes()), "<i2"))
    said = np.concatenate(words) / np.float32(2**15)
    # From rate to rate along straight lines.
    places = np.arange(len(said) * RATE // 8000) * (8000 / RATE)
    return np.interp(places, np.arange(len(said)), said).astype(np.float32)


@pytest.fixture(scope="module")
def hearing(tmp_path_factory: pytest.TempPathFactory, voice: np.ndarray) -> tuple[Bundle, Path]:
    """A model that takes audio."""
    folder = tmp_path_factory.mktemp("hearing")
    starts = range(0, len(voice) - LENGTH, HOP)
    frames = np.stack([voice[start : start + LENGTH] for start in starts])[None, :60]
    torch.manual_seed(0)
    about = millstream.About("loudness", RATE, HOP, ("quiet", "voice", "hiss"))
    millstream.export(Loudness(), frames, "web", about=about).save(folder / "model.mill")
    bundle = millstream_runtime.read(folder / "model.mill")
    write_demo(bundle, str(folder / "site"))
    return bundle, folder / "site"


@pytest.mark.parametrize("simd", [True, False])
def test_the_browser_gives_the_golden_outputs(site: tuple[Bundle, Path], simd: bool) -> None:
    bundle, folder = site
    script = f"""{_IMPORTS}
        const model = await Model.fetch(location.href, {{ simd: {str(simd).lower()} }});
        const golden = await (await fetch("golden.safetensors")).arrayBuffer();
        const {{ tensors }} = readTensors(new Uint8Array(golden));
        const stream = await model.stream();
        const {{ name, size }} = model.spec.inputs[0];
        const all = tensors[`input.${{name}}`].array;
        const real = all.slice(0, all.length - model.spec.look_ahead * size);
        const outputs = [];
        for (let at = 0; at < real.length; at += size) {{
            const result = stream.step(real.slice(at, at + size));
            if (result) outputs.push(text(result));
        }}
        outputs.push(...stream.flush().map(text));
        const entries = Object.entries(stream.states()).map(([name, array]) => [name, text(array)]);
        const states = Object.fromEntries(entries);
        // Any chunk length gives the same, and so does beginning again.
        stream.reset();
        const pushed = [];
        for (let at = 0; at < real.length; at += 3 * size) {{
            pushed.push(...stream.push(real.slice(at, at + 3 * size)).map(text));
        }}
        pushed.push(...stream.flush().map(text));
        return {{ simd: model.simd, outputs, pushed, states }};
    """
    found = found_by(folder, script)
    assert found["simd"] is simd
    assert found["pushed"] == found["outputs"]
    spec, golden = bundle.manifest.model, load(bundle.members[GOLDEN], bundle.manifest.model)
    allowed = bundle.manifest.targets[0].tolerance
    wanted = golden.outputs[0][spec.look_ahead :]
    _near(np.array(found["outputs"]).reshape(wanted.shape), wanted, allowed.relative, allowed.absolute)
    for state, value in zip(spec.states, golden.final_states, strict=True):
        got = np.array(found["states"][state.name]).astype(value.dtype).reshape(value.shape)
        _near(got, value, allowed.relative, allowed.absolute)


def _near(got: np.ndarray, want: np.ndarray, relative: float, absolute: float) -> None:
    if want.dtype.kind != "f":
        assert (got == want).all()
    assert np.abs(got - want).max() <= absolute + relative * np.abs(want).max()


def test_a_stream_moves_from_python_to_the_browser_and_back(
    hearing: tuple[Bundle, Path], voice: np.ndarray
) -> None:
    bundle, folder = hearing
    model = millstream_runtime.load(bundle.path)
    first, second, third = voice[:1234], voice[1234:2345], voice[2345:4000]
    with model.stream() as stream:
        stream.push(first)
        (folder / "snapshot.bin").write_bytes(stream.save())
        wanted = np.stack([*stream.push(second), *stream.push(third)])
    np.save(folder / "second.npy", second)
    (folder / "second.bin").write_bytes(second.tobytes())
    script = f"""{_IMPORTS}
        const read = async (name) => await (await fetch(name)).arrayBuffer();
        const stream = await (await Model.fetch(location.href)).stream();
        await stream.load(new Uint8Array(await read("snapshot.bin")));
        const outputs = stream.push(new Float32Array(await read("second.bin"))).map(text);
        return {{ outputs, snapshot: text(await stream.save()) }};
    """
    found = found_by(folder, script)
    with model.stream() as stream:
        stream.load(bytes(found["snapshot"]))
        assert stream.frames == (2345 - LENGTH) // HOP + 1
        got = np.concatenate((np.array(found["outputs"]), np.stack(stream.push(third))))
    assert np.abs(got - wanted).max() < 1e-5 * np.abs(wanted).max()


def test_what_does_not_fit_is_refused_and_changes_nothing(hearing: tuple[Bundle, Path]) -> None:
    script = f"""{_IMPORTS}
        const stream = await (await Model.fetch(location.href)).stream();
        stream.push(new Float32Array(700).fill(0.5));
        const before = text(await stream.save());
        const said = [];
        const bad = new Float32Array({LENGTH});
        bad[3] = NaN;
        const snapshot = await stream.save();
        const damaged = snapshot.slice();
        damaged[90] ^= 1;
        for (const attempt of [
            () => stream.step(new Float32Array(3)),
            () => stream.step(new Float64Array({LENGTH})),
            () => stream.step(bad),
            () => stream.step(),
            () => stream.load(damaged),
            () => stream.load(snapshot.slice(0, 60)),
            () => stream.load(new Uint8Array(9)),
        ]) {{
            try {{ await attempt(); said.push("nothing"); }} catch (error) {{ said.push(error.message); }}
        }}
        const after = text(await stream.save());
        stream.flush();
        try {{ stream.step(new Float32Array({LENGTH})); }} catch (error) {{ said.push(error.message); }}
        return {{ said, same: JSON.stringify(before) === JSON.stringify(after) }};
    """
    found = found_by(hearing[1], script)
    assert found["same"]
    parts = (
        "takes 400 numbers",
        "takes Float32Array",
        "not finite",
        "0 arrays for 1 inputs",
        "SHA-256 differs",
    )
    parts += ("cut short", "no snapshot", "call reset()")
    assert len(found["said"]) == len(parts)
    for said, part in zip(found["said"], parts, strict=True):
        assert part in said


def test_the_page_hears_a_voice_from_the_microphone(
    hearing: tuple[Bundle, Path], voice: np.ndarray, tmp_path: Path
) -> None:
    """What the page computed in the audio thread is what Python computes on the samples that it heard."""
    bundle, folder = hearing
    recording = tmp_path / "voice.wav"
    with wave.open(str(recording), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((voice * 2**15).clip(-(2**15), 2**15 - 1).astype("<i2").tobytes())
    script = """
        const frame = document.createElement("iframe");
        frame.src = "index.html";
        frame.allow = "microphone";
        document.body.append(frame);
        await new Promise((resolve) => (frame.onload = resolve));
        const moment = () => new Promise((later) => setTimeout(later, 50));
        const until = async (done) => { while (!done()) await moment(); };
        const page = frame.contentWindow;
        await until(() => page.millstream);
        page.document.getElementById("microphone").click();
        const heard = () => page.millstream.heard.flatMap(({ outputs }) => outputs);
        await until(() => heard().length > 60 || page.document.getElementById("error").textContent);
        return {
            error: page.document.getElementById("error").textContent || undefined,
            proof: page.millstream.proof,
            samples: page.millstream.heard.flatMap(({ samples }) => Array.from(samples)),
            outputs: heard().map((output) => Array.from(output)),
            shown: page.document.getElementById("output").innerText,
        };
    """
    found = found_by(
        folder,
        script,
        *("--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"),
        *(f"--use-file-for-fake-audio-capture={recording}", "--autoplay-policy=no-user-gesture-required"),
    )
    assert found["proof"]["passed"]
    samples = np.array(found["samples"], np.float32)
    assert np.abs(samples).max() > 0.05, "the voice was not heard"
    with millstream_runtime.load(bundle.path).stream() as stream:
        wanted = np.stack(stream.push(samples))
    got = np.array(found["outputs"])
    assert got.shape == wanted.shape
    assert np.abs(got - wanted).max() <= 1e-5 * np.abs(wanted).max()
    assert "voice" in found["shown"]


@pytest.mark.parametrize("damaged", [False, True])
def test_the_page_proves_itself_and_says_when_it_cannot(site: tuple[Bundle, Path], damaged: bool) -> None:
    bundle, folder = site
    spec = bundle.manifest.model
    golden = load(bundle.members[GOLDEN], spec)
    if damaged:
        wrong = dataclasses.replace(
            golden, outputs=tuple(np.float32(1.01) * output for output in golden.outputs)
        )
        (folder / GOLDEN).write_bytes(dump(wrong, spec))
    script = """
        const frame = document.createElement("iframe");
        frame.src = "index.html?simd=0";
        document.body.append(frame);
        const moment = () => new Promise((later) => setTimeout(later, 50));
        const seen = (id) => frame.contentDocument.getElementById(id);
        const bars = () => seen("output")?.children.length;
        do await moment(); while (!frame.contentWindow.millstream || !bars());
        const { proof, model } = frame.contentWindow.millstream;
        const text = (id) => seen(id).textContent;
        return {
            ...{ proof, simd: model.simd, said: text("proof"), title: text("name"), about: text("about") },
            ...{ latency: text("latency"), error: text("error") || undefined },
            bars: bars(),
        };
    """
    found = found_by(folder, script)
    (folder / GOLDEN).write_bytes(bundle.members[GOLDEN])
    assert found["simd"] is False
    assert found["proof"]["passed"] is not damaged
    assert found["said"].startswith("✗" if damaged else f"✓ {found['proof']['ticks']} golden frames")
    assert found["proof"]["ticks"] == golden.ticks - spec.look_ahead
    assert found["title"] == spec.name
    assert f"{(folder / 'plain.wasm').stat().st_size / 1000:.1f} kB without" in found["about"]
    assert found["bars"] == spec.outputs[0].shape[-1]
    assert float(found["latency"].split()[1]) > 0


def test_the_contract_counts_bytes_as_c_does(site: tuple[Bundle, Path]) -> None:
    bundle, folder = site
    spec = json.loads((folder / "model.json").read_text())
    assert spec["identity"] == bundle.manifest.model_sha256
    assert spec["builds"] == {name: (folder / name).stat().st_size for name in ("step.wasm", "plain.wasm")}
    for state in spec["states"]:
        assert state["offset"] % np.dtype(state["dtype"]).itemsize == 0


class _Gives:
    """A step that gives one number everywhere."""

    def __init__(self, number: float) -> None:
        self._number = number

    def bind(self, inputs: object, states: object, outputs: list[np.ndarray], next_states: list[np.ndarray]):
        def call() -> None:
            for array in (*outputs, *next_states):
                array.fill(self._number)

        return call


@pytest.mark.parametrize(("plain", "refused"), [(1.0, False), (1.01, True), (np.nan, True)])
def test_builds_that_differ_are_refused(plain: float, refused: bool) -> None:
    tolerance, exact = Tolerance(1e-5, 1e-6, "a test"), (False, False)
    step = BothBuilds(_Gives(1.0), _Gives(plain), tolerance, exact)  # type: ignore[arg-type]
    output, state = np.zeros((1, 3), np.float32), np.zeros((1, 2), np.float32)
    call = step.bind([], [], [output], [state])
    if refused:
        with pytest.raises(BackendRefused, match="with and without SIMD"):
            call()
    else:
        call()
        assert (output == 1).all()
