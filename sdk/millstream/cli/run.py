"""`millstream run`: stream a file, standard input or a microphone and print each result as it comes, or serve
clients."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

import numpy as np
import typer

import millstream_runtime
from millstream.cli.arguments import Backend, BundlePath, Json
from millstream.cli.feed import Chunks, feed
from millstream.cli.microphone import microphone
from millstream.cli.output import json_line
from millstream.errors import UsageError
from millstream_runtime import propagate, refuse, replace_by_zero
from millstream_runtime import serve as serving
from millstream_runtime.spec import ModelSpec
from millstream_runtime.stream import Result, Stream

_POLICIES = {"refuse": refuse, "propagate": propagate, "zero": replace_by_zero}


def run(
    bundle: BundlePath,
    source: Annotated[
        str | None,
        typer.Option(
            "--input", "-i", metavar="DATA", help="A .npz, .csv or .wav, or - for raw rows on stdin."
        ),
    ] = None,
    mic: Annotated[bool, typer.Option("--mic", help="Stream what the microphone hears.")] = False,
    server: Annotated[
        str | None,
        typer.Option(
            "--serve", metavar="unix:PATH", help="Serve local clients, each a stream: see docs/deploy.md."
        ),
    ] = None,
    backend: Backend = None,
    nonfinite: Annotated[
        Literal["refuse", "propagate", "zero"], typer.Option(help="What to do with NaN and infinity.")
    ] = "refuse",
    top: Annotated[int, typer.Option(min=1, metavar="K", help="How many labels to show, best first.")] = 1,
    as_json: Json = False,
) -> None:
    """Stream DATA or the microphone frame by frame and print one line per output, or serve clients.

    A row of DATA is one frame, or one sample where the model cuts its frames.
    A line begins with sequence and frame, both from 0. With --json it is an
    object, where NaN and infinity are null.
    """
    if sum((source is not None, mic, server is not None)) != 1:
        raise UsageError("what shall be streamed?", fix="give --input, --mic or --serve, one of the three")
    path = serving.address(server) if server is not None else ""
    model = millstream_runtime.load(bundle, backend)
    if path:
        serving.serve(model, path, _POLICIES[nonfinite])
        return
    sequences = feed(source, model.spec) if source is not None else iter([microphone(model.spec)])
    with model.stream(_POLICIES[nonfinite]) as stream:
        for number, chunks in enumerate(sequences):
            if number:
                stream.reset()
            for frame, result in enumerate(_results(stream, chunks)):
                line = describe(model.spec, number, frame, result, top)
                print(json_line(line) if as_json else as_text(line), flush=True)


def _results(stream: Stream, chunks: Chunks) -> Iterator[Result]:
    """All outputs of one sequence, the look-ahead drained at its end."""
    for chunk in chunks:
        yield from stream.push(chunk)
    yield from stream.flush()


def describe(spec: ModelSpec, sequence: int, frame: int, result: Result, top: int) -> dict[str, Any]:
    """One output: sequence and frame from 0, seconds at which the frame begins when the rate is known, the
    best labels with their scores when there are labels, and all numbers."""
    outputs = result if isinstance(result, tuple) else (result,)
    line: dict[str, Any] = {"sequence": sequence, "frame": frame}
    if spec.sample_rate is not None:
        hop = spec.framing.hop if spec.framing else 1
        line["seconds"] = frame * hop / spec.sample_rate
    if spec.labels and outputs[0].ndim == 1:
        best = np.argsort(-outputs[0], kind="stable")[:top]
        line["top"] = [{"label": spec.labels[i], "score": outputs[0][i].item()} for i in best]
    line["outputs"] = {t.name: output for t, output in zip(spec.outputs, outputs, strict=True)}
    return line


def as_text(line: dict[str, Any]) -> str:
    """The same for people: labels when there are some, else the numbers."""
    parts = [f"{line['sequence']}:{line['frame']:<6}"]
    if "seconds" in line:
        parts.append(f"{line['seconds']:9.3f} s")
    if "top" in line:
        parts += [f"{one['label']} {one['score']:.4g}" for one in line["top"]]
    else:
        parts += [_numbers(name, output) for name, output in line["outputs"].items()]
    return "  ".join(parts)


def _numbers(name: str, output: np.ndarray) -> str:
    return f"{name} " + " ".join(f"{number:.6g}" for number in output.ravel().tolist())
