"""An ordinary module for whole sequences, made to step: `streamify`.

The module is traced, the time axis is followed through its graph, and every operator gets a rule: local,
windowed, recurrent, cumulative, or refused by its name. Nothing of the module is rewritten and nothing is
asked of its author. The result is proved like any other model, by `export`: its sequence form is the
module itself.
"""

from __future__ import annotations

from millstream.streamify.convert import frames_of, streamify
from millstream.streamify.streamed import Streamed

__all__ = ["Streamed", "frames_of", "streamify"]
