"""A page that shows a model at work in a browser: static files, which ask for nothing from elsewhere."""

from __future__ import annotations

import json
import os
from pathlib import Path

from millstream.errors import UsageError
from millstream.extracting import extract
from millstream.writing import replace
from millstream_runtime.bundle import Bundle
from millstream_runtime.spec import GOLDEN

TARGET = "web"
_FILES = Path(__file__).parent / "targets/web/demo"


def write_demo(bundle: Bundle, folder: str) -> tuple[str, ...]:
    """Write the page, the bundle's target `web` and its golden frames into `folder`, and give their paths.

    The folder is made where it lacks; files of the same names are replaced. Raises UsageError for a bundle
    without the target, WriteFailed.
    """
    target = next((target for target in bundle.manifest.targets if target.name == TARGET), None)
    if target is None:
        raise UsageError("the bundle has nothing for a browser", where=bundle.path, fix="add --target web")
    written = extract(bundle, TARGET, folder, overwrite=True)
    allowed = {"absolute": target.tolerance.absolute, "relative": target.tolerance.relative}
    pieces = {
        "golden.json": json.dumps(allowed).encode(),
        GOLDEN: bundle.members[GOLDEN],
        **{path.name: path.read_bytes() for path in sorted(_FILES.iterdir())},
    }
    places = {os.path.join(folder, name): data for name, data in pieces.items()}
    for place, data in places.items():
        replace(place, data)
    return (*written, *places)
