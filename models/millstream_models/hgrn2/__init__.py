"""HGRN2."""

from millstream_models.hgrn2.model import HGRN2, hgrn2, lower_bounds

__all__ = ["HGRN2", "hgrn2", "lower_bounds"]
