"""How surprising a pulse is."""

from millstream_models.pulse.model import AHEAD, SurpriseMeter, pulse

__all__ = ["AHEAD", "SurpriseMeter", "pulse"]
