"""Where compiled code is kept from one run to the next."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """$MILLSTREAM_CACHE, else `millstream` in the user's cache directory; it need not exist."""
    chosen = os.environ.get("MILLSTREAM_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "millstream")
