"""`millstream export`: from a PyTorch model to a proved bundle."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

import millstream_runtime
from millstream.budget import flash, ram
from millstream.cli.arguments import (
    Checkpoint,
    Config,
    Example,
    Json,
    Labelled,
    Model,
    Output,
    StateDtypes,
    States,
    Streamify,
    Targets,
    TimeAxis,
    Window,
)
from millstream.cli.device_memory import device_memory
from millstream.cli.output import console, facts, print_json
from millstream.cli.quantized import details, front, quantized
from millstream.cli.reparameterized import reparameterized, rewrites
from millstream.cli.state_dtypes import narrow_states, state_dtypes
from millstream.errors import UsageError
from millstream.object_files import code_bytes
from millstream.web_demo import TARGET, write_demo
from millstream_runtime.backends import has_backend
from millstream_runtime.spec import TargetSpec

if TYPE_CHECKING:
    from millstream.cli.export_options import ExportOptions
    from millstream.exporting import Exported
    from millstream.ladder import Watcher


def export(
    model: Model = None,
    target: Targets = None,
    output: Output = None,
    checkpoint: Checkpoint = None,
    example: Example = None,
    streamify: Streamify = False,
    time_axis: TimeAxis = None,
    window: Window = None,
    labelled: Labelled = None,
    name: Annotated[str | None, typer.Option(help="The name in the bundle.")] = None,
    sample_rate: Annotated[
        float | None, typer.Option(metavar="HZ", help="Samples per second; frames, without --hop.")
    ] = None,
    hop: Annotated[
        int | None, typer.Option(metavar="N", help="Samples from frame to frame: streams then take samples.")
    ] = None,
    label: Annotated[
        list[str] | None, typer.Option(metavar="L", help="Name of an output element; repeat it for all.")
    ] = None,
    labels: Annotated[str | None, typer.Option(metavar="FILE", help="The labels, one a line.")] = None,
    sign: Annotated[
        str | None, typer.Option(metavar="KEY.PEM", help="Sign with this key (millstream keygen).")
    ] = None,
    flash: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE", help="What constants and compiled code may take on the device, such as 512K."
        ),
    ] = None,
    ram: Annotated[
        str | None, typer.Option(metavar="SIZE", help="What state, twice, and scratch may take there.")
    ] = None,
    quantize: Annotated[
        str | None,
        typer.Option(
            metavar="FORMAT",
            help="w16, w8, w4, w4-groups, w8a8, w8a8-static, w4a8, ternary, fixed16, fixed16-w8: see "
            "docs/quantize.md. Without: float.",
        ),
    ] = None,
    states: States = None,
    state_dtype: StateDtypes = None,
    max_error: Annotated[
        float | None,
        typer.Option(
            metavar="E", help="Relative RMS error against float that may not be passed, such as 0.05."
        ),
    ] = None,
    demo: Annotated[
        str | None,
        typer.Option(metavar="FOLDER", help="Write a page for the browser there: needs --target web."),
    ] = None,
    reparameterize: Annotated[
        bool | None,
        typer.Option(
            "--reparameterize/--no-reparameterize",
            help="Fold norms and branches into the layers around them, with proof. Without: yes.",
        ),
    ] = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Export MODEL to a bundle, after proving that all its forms give the same numbers.

    Nothing is written when a proof fails. A model's file is a program: it is run.
    """
    from millstream.cli.export_options import resolve

    flags = {
        **{"model": model, "target": target, "output": output, "checkpoint": checkpoint, "example": example},
        **{"labelled": labelled, "name": name, "sample_rate": sample_rate, "hop": hop, "label": label},
        **{"labels": labels, "sign": sign, "flash": flash, "ram": ram},
        **{"quantize": quantize, "states": states, "state_dtype": state_dtype, "max_error": max_error},
        "reparameterize": reparameterize,
        **{"streamify": streamify or None, "time_axis": time_axis, "window": window},
    }
    options = resolve(config, flags)
    if demo and TARGET not in options.target:
        raise UsageError("a demo is for a browser", where=f"--demo {demo}", fix="add --target web")
    make(options, as_json, demo)


def make(options: ExportOptions, as_json: bool, demo: str | None = None) -> None:
    """Export, write, and show what was done; with a folder for `demo` a page for the browser as well."""
    if as_json:
        # What a model's file prints must not stand beside the document.
        with contextlib.redirect_stdout(sys.stderr):
            exported, path, key = _run(options, as_json)
            told = document(exported, path, key)
            if demo:
                told["demo"] = write_demo(millstream_runtime.read(path), demo)
        print_json(told)
    else:
        exported, path, key = _run(options, as_json)
        show(exported, path, key)
        if demo:
            write_demo(millstream_runtime.read(path), demo)
            console().print(facts({"demo": demo, "look at it": f"python -m http.server -d {demo}"}))


def _run(options: ExportOptions, quiet: bool) -> tuple[Exported, str, str]:
    """Export and write; the export, where it lies, and the public key that signed it or an empty text."""
    from millstream import signing
    from millstream.cli.progress import Progress
    from millstream.ladder import Silent

    if options.output:
        _check_place(options.output)
    key = signing.load(options.sign) if options.sign else None
    with contextlib.ExitStack() as stack:
        watcher = Silent() if quiet else stack.enter_context(Progress(console()))
        exported = _export(options, watcher)
        path = options.output or f"{exported.contents.model.name}.mill"
        _check_place(path)
        watcher.begin(f"writing {path}")
        exported.save(path, key)
    return exported, path, key.public_key if key else ""


def _export(options: ExportOptions, watcher: Watcher) -> Exported:
    """Load what the options name and export it."""
    from millstream import targets

    for each in options.target:
        targets.target(each)  # before torch is imported, which takes seconds
    format, storages = options.format, options.storages
    watcher.begin("loading the model")
    from millstream.cli.export_data import read_labels
    from millstream.cli.preparing import prepare
    from millstream.describing import About
    from millstream.exporting import export

    ready = prepare(options, watcher)
    labelled, reference = ready.labelled, ready.reference
    stored: dict[str, Any] = {**options.stored(), "example": ready.example.origin}
    if labelled:
        stored["labelled"] = labelled.origin
    about = About(
        name=options.name or ready.name,
        sample_rate=options.sample_rate or (reference.sample_rate if reference else None),
        hop=options.hop or ready.hop or (reference.hop if reference else None),
        labels=read_labels(options, reference),
        provenance=ready.provenance,
        options=stored,
    )
    test = labelled.data if labelled else None
    return export(
        *(ready.module, ready.example.data, options.target),
        labelled=test,
        about=about,
        budget=options.budget,
        format=format,
        allowance=options.allowance,
        most_drift=options.states,
        storages=storages,
        reparameterize=options.reparameterize,
        watcher=watcher,
    )


def _check_place(path: str) -> None:
    """Refuse early what could not be written after minutes of proving. Raises UsageError."""
    parent = os.path.dirname(path.rstrip("/" + os.sep)) or "."
    if not os.path.isdir(parent):
        raise UsageError("the folder does not exist", where=parent, fix=f"mkdir -p {parent}")
    if os.path.isdir(path) and not path.endswith(("/", os.sep)):
        raise UsageError(
            "that is a folder", where=path, fix=f"end it with / to write the bundle as a folder: {path}/"
        )


def document(exported: Exported, path: str, key: str) -> dict[str, Any]:
    """What was exported, as JSON tells it."""
    contents = exported.contents
    return {
        "path": path,
        "bytes": _size(path),
        "name": contents.model.name,
        "targets": [target.name for target, _ in contents.targets],
        "fallbacks": contents.report["fallbacks"],
        "options": contents.options,
        "devices": {
            target.name: {
                "flash_bytes": flash(target.memory, code_bytes(files)),
                "ram_bytes": ram(target.memory),
            }
            for target, files in _devices(exported)
        },
        "ladder": exported.ladder.to_json(),
        "reparameterization": contents.report.get("reparameterization"),
        "quantization": contents.report.get("quantization"),
        "search": contents.report.get("search"),
        "states": contents.report.get("states"),
        "signed_by": key,
    }


def show(exported: Exported, path: str, key: str) -> None:
    """Tell a person what was exported."""
    told = document(exported, path, key)
    options = told["options"]
    summary = {
        "bundle": path,
        "bytes": told["bytes"],
        "targets": ", ".join(told["targets"]),
        **{target.name: device_memory(target.memory, files) for target, files in _devices(exported)},
        "example": options["example"],
        "labelled": options.get("labelled", ""),
        "reparameterized": reparameterized(told["reparameterization"]),
        "quantized": quantized(told["quantization"]),
        "states": narrow_states(told["states"]),
        "signed by": key,
        "look inside": f"millstream inspect {path}",
    }
    out = console()
    out.print()
    out.print(facts(summary))
    if told["states"]:
        out.print(state_dtypes(told["states"]))
    if told["search"]:
        out.print(front(told["search"]))
    if told["reparameterization"]:
        out.print(*rewrites(told["reparameterization"]), sep="\n")
    for each in details(told["quantization"]):
        out.print(each)


def _devices(exported: Exported) -> list[tuple[TargetSpec, Mapping[str, bytes]]]:
    """The targets without Python, whose memory is counted, and their files."""
    return [(t, files) for t, files in exported.contents.targets if not has_backend(t.backend)]


def _size(path: str) -> int:
    """Bytes of a bundle, a file or a folder."""
    if os.path.isfile(path):
        return os.path.getsize(path)
    return sum(
        os.path.getsize(os.path.join(room, file)) for room, _, files in os.walk(path) for file in files
    )
