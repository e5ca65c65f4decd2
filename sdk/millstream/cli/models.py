"""`millstream models`: what can be exported by its name."""

from __future__ import annotations

from millstream.cli.arguments import Json
from millstream.cli.output import console, print_json, table
from millstream_models import CATALOGUE, ReferenceModel


def models(as_json: Json = False) -> None:
    """List the reference models."""
    if as_json:
        print_json({"models": CATALOGUE})
        return
    columns = ("model", "frame", "weights", "data set", "summary")
    console().print(table(columns, map(_row, CATALOGUE)))


def _row(model: ReferenceModel) -> tuple[object, ...]:
    weights = "trained" if model.weights else "untrained"
    return model.name, str(model.input_shape), weights, model.dataset or "-", model.summary
