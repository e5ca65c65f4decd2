"""Taking the files of a target out of a bundle, for a device that reads files and no bundles."""

from __future__ import annotations

import os
from collections.abc import Mapping

from millstream.errors import FileInTheWay, UsageError, WriteFailed
from millstream.writing import room_beside, write_pieces
from millstream_runtime.bundle import Bundle


def extract(bundle: Bundle, target: str, folder: str, overwrite: bool = False) -> tuple[str, ...]:
    """Write the files of a target of a verified bundle into `folder`, and give their paths.

    The folder is made where it lacks. Nothing appears there before all files are written, and each then
    takes its place in one move. Raises UsageError when the bundle has no such target, FileInTheWay when a
    file of the same name is there and `overwrite` is false, WriteFailed.
    """
    files = _files(bundle, target)
    places = {name: os.path.join(folder, name) for name in files}
    taken = [place for place in places.values() if os.path.lexists(place)]
    if taken and not overwrite:
        raise FileInTheWay(
            "files are in the way", where=", ".join(taken), fix="choose another folder, or give --force"
        )
    try:
        _write(files, places, folder)
    except OSError as error:
        raise WriteFailed("the files cannot be written", where=folder, why=str(error)) from error
    return tuple(places.values())


def _files(bundle: Bundle, target: str) -> dict[str, bytes]:
    targets = {known.name: known for known in bundle.manifest.targets}
    if target not in targets:
        raise UsageError(
            f"the bundle has no target {target!r}", where=bundle.path, fix="use one of " + ", ".join(targets)
        )
    return bundle.files(targets[target])


def _write(files: Mapping[str, bytes], places: Mapping[str, str], folder: str) -> None:
    with room_beside(os.path.abspath(folder)) as room:
        for number, data in enumerate(files.values()):
            write_pieces(os.path.join(room, str(number)), (data,))
        for number, place in enumerate(places.values()):
            os.makedirs(os.path.dirname(place), exist_ok=True)
            os.replace(os.path.join(room, str(number)), place)
