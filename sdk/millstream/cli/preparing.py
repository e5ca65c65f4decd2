"""What `export` and `check` work on: the model made to step where that is asked for, and its frames."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from torch import nn

from millstream.cli.export_data import Source, read_example, read_labelled
from millstream.cli.export_options import ExportOptions
from millstream.errors import UsageError
from millstream.ladder import Watcher
from millstream.loading import load
from millstream.sequences import Sequences
from millstream_models import ReferenceModel

_HUGGING_FACE = "hf:"
_TOKENS = (3, 33)


@dataclass(frozen=True)
class Ready:
    """A module that keeps the protocol, and frames as it takes them.

    `hop` is the number of samples from frame to frame where a frame is a block of them. `provenance` says
    what was done to the module.
    """

    module: nn.Module
    name: str
    example: Source
    labelled: Source | None
    reference: ReferenceModel | None = None
    hop: int | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)


def prepare(options: ExportOptions, watcher: Watcher) -> Ready:
    """Load the model and its frames. Raises what loading, reading and converting raise."""
    if options.model.startswith(_HUGGING_FACE):
        return _language_model(options, watcher)
    loaded = load(options.model, options.checkpoint)
    reference = loaded.reference
    ready = Ready(
        loaded.module,
        loaded.name,
        read_example(options, reference),
        read_labelled(options, reference),
        reference,
    )
    if options.streamify:
        return _streamed(options, ready, watcher)
    if options.time_axis != 1 or options.window is not None:
        raise UsageError(
            "a time axis or a window, and nothing to convert",
            fix="add --streamify, or leave them out: a module with step says itself where time is",
        )
    return ready


def _streamed(options: ExportOptions, ready: Ready, watcher: Watcher) -> Ready:
    """The module converted by `streamify`, its frames cut into blocks."""
    from millstream.streamify import frames_of, streamify

    if callable(getattr(ready.module, "step", None)):
        raise UsageError("the model has a step of its own", fix="leave out --streamify")
    watcher.begin("making the module step")
    streamed = streamify(ready.module, ready.example.data, time_axis=options.time_axis, window=options.window)
    facts = streamed.facts()
    told = ", ".join(f"{name} {value}" for name, value in facts.items())
    watcher.noted(f"made to step: {told or 'frame by frame'}")

    def cut(source: Source) -> Source:
        return replace(source, data=frames_of(streamed, source.data))

    return replace(
        ready,
        module=streamed,
        example=cut(ready.example),
        labelled=cut(ready.labelled) if ready.labelled else None,
        hop=streamed.block if streamed.block > 1 else None,
        provenance={"made to step": facts},
    )


def _language_model(options: ExportOptions, watcher: Watcher) -> Ready:
    """A causal model of transformers, from a folder or a factory."""
    from millstream.huggingface import causal_step, from_folder

    place = options.model.removeprefix(_HUGGING_FACE)
    if ":" in place:
        loaded = load(place, options.checkpoint)
        model, name = loaded.module, loaded.name
    else:
        model, name = from_folder(place), place.rstrip("/").rpartition("/")[2]
    watcher.begin("finding the cache of the model")
    step = causal_step(model, options.window)
    example = read_example(options, None) if options.example else _tokens(model)
    seen = {"attention sees": f"{step.window} tokens"} if step.window else {}
    return Ready(step, name, example, read_labelled(options, None), provenance=seen)


def _tokens(model: nn.Module) -> Source:
    """Seeded random tokens of the model's vocabulary."""
    size = int(model.config.get_text_config().vocab_size)  # type: ignore[union-attr,operator]
    tokens = np.random.default_rng(0).integers(0, size, _TOKENS)
    return Source(Sequences(tuple(tokens)), f"{_TOKENS[0]} sequences of {_TOKENS[1]} random tokens")
