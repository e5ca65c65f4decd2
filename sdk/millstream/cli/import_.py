"""`millstream import`: from a streaming ONNX file to a proved bundle."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from millstream.cli.arguments import Json, Targets
from millstream.cli.export import document, show
from millstream.cli.output import console, print_json
from millstream.errors import UsageError

if TYPE_CHECKING:
    from millstream.exporting import Exported
    from millstream.importing import Imported
    from millstream.ladder import Watcher
    from millstream.sequences import Sequences


def import_(
    model: Annotated[str, typer.Argument(metavar="MODEL.ONNX", help="A file with one step, or a sequence.")],
    state: Annotated[
        list[str] | None,
        typer.Option(metavar="IN=OUT", help="A state and its next value; repeat it. Or: auto."),
    ] = None,
    shape: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=1xN", help="The sizes of an input for one frame; free ones are 1 without."
        ),
    ] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=V", help="Fix an input that is no frame, such as sr=16000."),
    ] = None,
    expose: Annotated[
        bool,
        typer.Option("--expose-rnn-state", help="Open GRU and LSTM nodes that begin inside the graph."),
    ] = False,
    target: Targets = None,
    example: Annotated[
        str | None,
        typer.Option(metavar="DATA", help="Real frames: an .npz with x (N, T, *frame). Without: noise."),
    ] = None,
    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="PATH", help="Without: the file's name, .mill.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="The name in the bundle.")] = None,
    sample_rate: Annotated[float | None, typer.Option(metavar="HZ", help="Samples per second.")] = None,
    as_json: Json = False,
) -> None:
    """Bring in MODEL.ONNX, which streams already, and prove it against itself in onnxruntime."""
    from millstream.cli.progress import Progress
    from millstream.describing import About
    from millstream.exporting import export_graph
    from millstream.importing import imported
    from millstream.ladder import Silent
    from millstream.trace import Traced

    called = name or Path(model).stem
    path = output or f"{called}.mill"
    with contextlib.ExitStack() as stack:
        if as_json:
            stack.enter_context(contextlib.redirect_stdout(sys.stderr))
        watcher: Watcher = Silent() if as_json else stack.enter_context(Progress(console()))
        watcher.begin("making the file static")
        found = imported(
            model, state or (), sizes=_sizes(shape or ()), settings=_settings(setting or ()), expose=expose
        )
        for note in found.notes:
            watcher.noted(note)
        frames = _frames(example, found)
        options = {"model": model, "state": [f"{a}={b}" for a, b in found.states.items()]}
        about = About(
            name=called,
            sample_rate=sample_rate,
            provenance={"imported from": Path(model).name, "states": "; ".join(found.notes)},
            options={**options, "example": example or "noise"},
            origin=f"{Path(model).name} (onnxruntime)",
        )
        fixed = Traced(found.graph, "")
        exported: Exported = export_graph(
            *(fixed, found.source, frames, target or ("cpu", "numba")), about=about, watcher=watcher
        )
        watcher.begin(f"writing {path}")
        exported.save(path)
    if as_json:
        print_json(document(exported, path, ""))
    else:
        show(exported, path, "")


def _frames(example: str | None, found: Imported) -> Sequences:
    from millstream import sequences

    if example:
        return sequences.read(example)
    return sequences.random_sequences(3, 24, found.frame)


def _sizes(texts: list[str] | tuple[()]) -> dict[str, tuple[int, ...]]:
    """`input=1x512` as sizes. Raises UsageError."""
    found = {}
    for text in texts:
        name, _, sizes = text.rpartition("=")
        try:
            found[name] = tuple(int(size) for size in sizes.split("x") if size)
        except ValueError as error:
            raise UsageError(f"{text!r} is no shape", fix="write --shape input=1x512") from error
    return found


def _settings(texts: list[str] | tuple[()]) -> dict[str, float]:
    """`sr=16000` as numbers. Raises UsageError."""
    found = {}
    for text in texts:
        name, _, value = text.rpartition("=")
        try:
            found[name] = float(value)
        except ValueError as error:
            raise UsageError(f"{text!r} is no setting", fix="write --set sr=16000") from error
    return found
