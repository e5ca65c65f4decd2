"""`millstream run`: every kind of input, every kind of output, live pipes."""

from __future__ import annotations

import json
import select
import signal
import subprocess
import sys
import wave

import numpy as np
import pytest

import millstream_runtime

LABELS = ("red", "green", "blue")


@pytest.fixture
def frames(room):
    """One sequence (12, 5) float32."""
    return np.load(room / "data.npz")["x"][1]


@pytest.fixture
def outputs(bundle, frames):
    """What the stream gives for `frames`, (12, 3)."""
    with millstream_runtime.load(bundle).stream() as stream:
        return np.stack(stream.push(frames))


def objects(result) -> list[dict]:
    assert result.exit_code == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def numbers(lines: list[dict], name: str = "output") -> np.ndarray:
    return np.array([line["outputs"][name] for line in lines], np.float32)


def test_one_sequence_from_npz(millstream, bundle, frames, outputs, tmp_path):
    np.savez(tmp_path / "x.npz", x=frames)
    lines = objects(millstream("run", bundle, "--input", tmp_path / "x.npz", "--json"))
    np.testing.assert_array_equal(numbers(lines), outputs)
    assert [line["frame"] for line in lines] == list(range(12))
    assert lines[7]["seconds"] == pytest.approx(0.07)
    assert lines[7]["top"][0]["label"] == LABELS[outputs[7].argmax()]
    assert lines[7]["top"][0]["score"] == outputs[7].max()


def test_text_names_the_best_labels(millstream, bundle, frames, outputs, tmp_path):
    np.savez(tmp_path / "x.npz", x=frames)
    result = millstream("run", bundle, "--input", tmp_path / "x.npz", "--top", 2)
    last = result.stdout.splitlines()[-1].split()
    first, second = np.argsort(-outputs[-1])[:2]
    assert last[:3] == ["0:11", "0.110", "s"]
    assert last[3:] == [
        LABELS[first],
        f"{outputs[-1][first]:.4g}",
        LABELS[second],
        f"{outputs[-1][second]:.4g}",
    ]


def test_several_sequences_each_begin_anew(millstream, bundle, frames, outputs, tmp_path):
    x = np.stack([frames, frames])
    np.savez(tmp_path / "x.npz", x=x, lengths=[4, 12])
    lines = objects(millstream("run", bundle, "--input", tmp_path / "x.npz", "--json"))
    assert [(line["sequence"], line["frame"]) for line in lines] == [
        *((0, frame) for frame in range(4)),
        *((1, frame) for frame in range(12)),
    ]
    np.testing.assert_array_equal(numbers(lines[4:]), outputs)
    np.testing.assert_array_equal(numbers(lines[:4]), outputs[:4])


def test_csv(millstream, bundle, frames, outputs, tmp_path):
    np.savetxt(tmp_path / "x.csv", frames, delimiter=",", fmt="%.9g")
    lines = objects(millstream("run", bundle, "--input", tmp_path / "x.csv", "--json"))
    # Nine digits say a float32 exactly.
    np.testing.assert_array_equal(numbers(lines), outputs)


@pytest.mark.parametrize(
    ("text", "words"),
    [("a,b,c,d,e\n", "line 1"), ("1,2,3,4,5\n1,2\n", "line 2"), ("1,2,3,4,\n", "line 1")],
)
def test_csv_that_is_no_table_of_frames(millstream, bundle, tmp_path, text, words):
    (tmp_path / "x.csv").write_text(text)
    result = millstream("run", bundle, "--input", tmp_path / "x.csv")
    assert result.exit_code == 2
    assert words in result.stderr


def test_npz_of_another_shape_or_dtype(millstream, bundle, frames, tmp_path):
    np.savez(tmp_path / "shape.npz", x=frames[:, :4])
    result = millstream("run", bundle, "--input", tmp_path / "shape.npz")
    assert (result.exit_code, "(5,)" in result.stderr) == (2, True)
    np.savez(tmp_path / "dtype.npz", x=frames.astype(np.float64))
    result = millstream("run", bundle, "--input", tmp_path / "dtype.npz")
    assert (result.exit_code, "float64" in result.stderr) == (2, True)


@pytest.mark.parametrize("name", ["none.npz", "none.csv", "none.mp3"])
def test_input_that_cannot_be_read(millstream, bundle, tmp_path, name):
    result = millstream("run", bundle, "--input", tmp_path / name)
    assert result.exit_code == 2
    assert name in result.stderr


def test_policies_for_nan(millstream, bundle, frames, outputs, tmp_path):
    spoiled = frames.copy()
    spoiled[5, 2] = np.nan
    np.savez(tmp_path / "x.npz", x=spoiled)
    result = millstream("run", bundle, "--input", tmp_path / "x.npz", "--json")
    assert result.exit_code == 2
    *before, error = (json.loads(line) for line in result.stdout.splitlines())
    np.testing.assert_array_equal(numbers(before), outputs[:5])
    assert error["error"]["kind"] == "NonFiniteInput"
    run = ("run", bundle, "--input", tmp_path / "x.npz", "--json", "--nonfinite")
    assert np.isnan(numbers(objects(millstream(*run, "propagate")))[5:]).all()
    zeroed = numbers(objects(millstream(*run, "zero")))
    assert np.isfinite(zeroed).all()
    np.testing.assert_array_equal(zeroed[:5], outputs[:5])
    assert millstream(*run, "guess").exit_code == 2


def pcm(path, samples: np.ndarray, rate: int = 8000, channels: int = 1) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(samples.dtype.itemsize)
        file.setframerate(rate)
        file.writeframes(samples.tobytes())


@pytest.mark.parametrize(("dtype", "zero", "full"), [("u1", 128, 2**7), ("<i2", 0, 2**15), ("<i4", 0, 2**31)])
def test_wav_is_cut_into_windows(millstream, windowed, tmp_path, dtype, zero, full):
    info = np.iinfo(dtype)
    stored = np.random.default_rng(3).integers(info.min, info.max, 30, dtype, endpoint=True)
    pcm(tmp_path / "x.wav", stored)
    lines = objects(millstream("run", windowed, "--input", tmp_path / "x.wav", "--json"))
    sound = (stored.astype(np.float64) - zero) / full
    windows = np.lib.stride_tricks.sliding_window_view(sound, 8)[::4]
    want = np.stack((windows.mean(1), (windows**2).mean(1)), 1)
    # Means of eight values below 1 in float32.
    np.testing.assert_allclose(numbers(lines), want, atol=1e-6)
    assert [line["seconds"] for line in lines] == [4 * t / 8000 for t in range(len(want))]


def test_wav_that_does_not_fit(millstream, bundle, windowed, tmp_path):
    silence = np.zeros(16, "<i2")
    pcm(tmp_path / "rate.wav", silence, rate=16000)
    pcm(tmp_path / "stereo.wav", silence, channels=2)
    pcm(tmp_path / "mono.wav", silence)
    (tmp_path / "noise.wav").write_bytes(b"RIFF and so on")
    for name, words in (("rate", "16000"), ("stereo", "2 channels"), ("noise", "noise.wav")):
        result = millstream("run", windowed, "--input", tmp_path / f"{name}.wav")
        assert (result.exit_code, words in result.stderr) == (2, True), name
    result = millstream("run", bundle, "--input", tmp_path / "mono.wav")
    assert (result.exit_code, "no waveform" in result.stderr) == (2, True)


def test_numbers_are_shown_where_there_are_no_labels(millstream, windowed, tmp_path):
    np.savez(tmp_path / "x.npz", x=np.full(8, 0.5, np.float32))
    result = millstream("run", windowed, "--input", tmp_path / "x.npz")
    assert result.stdout.split() == ["0:0", "0.000", "s", "output", "0.5", "0.25"]


def started(bundle, *arguments: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "millstream", "run", str(bundle), *arguments, "--backend", "onnxruntime"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    # A shell starts its background jobs deaf to interrupts, and children inherit that.
    return subprocess.Popen(command, **pipes, preexec_fn=_hear_interrupts)


def _hear_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def line_within(process: subprocess.Popen, seconds: float) -> bytes:
    ready, _, _ = select.select([process.stdout], [], [], seconds)
    assert ready, "no result came while standard input was open"
    return process.stdout.readline()


def test_results_come_while_standard_input_is_still_open(bundle, frames, outputs):
    with started(bundle, "--input", "-", "--json") as process:
        raw = frames.tobytes()
        for count, place in enumerate(range(0, 60, 20)):
            # A third of the frame is late.
            process.stdin.write(raw[place : place + 13])
            process.stdin.flush()
            process.stdin.write(raw[place + 13 : place + 20])
            process.stdin.flush()
            line = json.loads(line_within(process, 20))
            assert line["frame"] == count
            # Another backend may have made `outputs`; both hold 1e-5 to the reference.
            np.testing.assert_allclose(line["outputs"]["output"], outputs[count], atol=1e-4)
        rest, errors = process.communicate(raw[60:], timeout=20)
    assert (process.returncode, errors) == (0, b"")
    assert len(rest.splitlines()) == 9


def test_standard_input_that_ends_within_a_frame(bundle, frames):
    with started(bundle, "--input", "-") as process:
        out, errors = process.communicate(frames.tobytes()[:-3], timeout=20)
    assert process.returncode == 2
    assert len(out.splitlines()) == 11
    assert b"17 of 20 bytes" in errors


def test_a_reader_that_goes_away_is_no_error(bundle, frames):
    with started(bundle, "--input", "-") as process:
        process.stdin.write(frames.tobytes())
        process.stdin.flush()
        line_within(process, 20)
        process.stdout.close()
        process.stdin.write(frames.tobytes() * 100)
        process.stdin.close()
        process.wait(timeout=20)
        assert process.stderr.read() == b""
    assert process.returncode == 0


def test_an_interrupt_ends_the_command_with_130(bundle, frames):
    with started(bundle, "--input", "-") as process:
        process.stdin.write(frames.tobytes())
        process.stdin.flush()
        line_within(process, 20)
        process.send_signal(signal.SIGINT)
        process.wait(timeout=20)
        assert b"Traceback" not in process.stderr.read()
    assert process.returncode == 130
