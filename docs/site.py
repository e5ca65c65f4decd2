"""What the site adds to the pages in this folder: the README of each reference model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

_MODELS = Path(__file__).parent.parent / "models"


def on_files(files: Files, config: Any) -> Files:
    """Add the READMEs under `models/`."""
    for path in sorted(_MODELS.rglob("README.md")):
        place = f"models/{path.relative_to(_MODELS)}"
        files.append(File.generated(config, place, content=path.read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Let pages point at them where the site has them."""
    if page.file.src_uri.startswith("models/"):
        return markdown.replace("](../../../docs/", "](../../../")
    return markdown.replace("](../models/", "](models/")
