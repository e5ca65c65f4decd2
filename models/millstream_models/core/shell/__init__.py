"""The blocks and the model around a mixer: what a new system does not have to write."""

from millstream_models.core.shell.block import Block
from millstream_models.core.shell.mixer import Mixer, State, initial_states, numbered, of_block
from millstream_models.core.shell.model import StreamModel
from millstream_models.core.shell.small import seeded, small, small_stack

__all__ = [
    "Block",
    "Mixer",
    "State",
    "StreamModel",
    "initial_states",
    "numbered",
    "of_block",
    "seeded",
    "small",
    "small_stack",
]
