"""What the site adds to the pages in this folder: each reference model's README, and the examples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

_ROOT = Path(__file__).parent.parent


def on_files(files: Files, config: Any) -> Files:
    """Add what pages point at outside this folder."""
    for path in sorted((*_ROOT.glob("models/**/README.md"), *_ROOT.glob("examples/*.py"))):
        place = str(path.relative_to(_ROOT))
        files.append(File.generated(config, place, content=path.read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Let pages point at them where the site has them."""
    if page.file.src_uri.startswith("models/"):
        return markdown.replace("](../../../docs/", "](../../../")
    return markdown.replace("](../models/", "](models/").replace("](../examples/", "](examples/")
